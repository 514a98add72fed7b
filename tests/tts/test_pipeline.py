"""All stages together: never worse by the selector, within budgets, whatever fails, the same again."""

import asyncio
import dataclasses
import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmi_jax.core.answer import Prose
from llmi_jax.core.errors import Interrupted
from llmi_jax.judges.remote import MLLM, RemoteJudge
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from llmi_jax.tools.registry import ToolFailure
from llmi_jax.tts import pipeline, polish
from llmi_jax.tts.ledger import Ledger
from llmi_jax.tts.selectors import Scores
from llmi_jax.tts.settings import Enhance, Limits, Plan, Polish
from tests.doubles import scaling
from tests.doubles.chat import Act, ChatServer, texts

TASK = scaling.task()
CAT = scaling.tagged('search', query='cat')
EDIT = scaling.tagged('edit', img_index=0, prompt='grey')
HOUSE = scaling.tagged('diffusion', prompt='house')
RESPONSES = [
  f'A cat. {CAT} Grey: {EDIT}',
  f'A house. {HOUSE} And a cat. {CAT}',
  f'A plot. {scaling.tagged("code", code="bad")} A house. {HOUSE}',
  f'Only a cat. {CAT}',
]
WHOLE = Plan(samples=4, keep=2, enhance=Enhance(2, 1), polish=Polish(1))


async def polisher(task, answer):
  slots = sum(not isinstance(part, Prose) for part in answer.parts)
  marks = '\n'.join(f'[[{n}:{polish.code(answer)}]]' for n in range(1, slots + 1))
  return f'A text about it.\n{marks}'


async def repairer(task, call, error):
  return '```python\ngood\n```'


def run(plan=WHOLE, stop=None, seed=0, responses=RESPONSES, **more):
  ledger = Ledger(plan.limits, plan.stages)
  crew = scaling.crew(
    responses, ledger=ledger, polisher=polisher, repairer=repairer, **{'tools': scaling.Tools(), **more}
  )
  return asyncio.run(pipeline.run(TASK, crew, plan, seed, stop))


def random_grade(seed, share_lost=0.0):
  """A judge that rolls dice, the same for the same answer."""

  def grade(answer):
    said = [p.text if isinstance(p, Prose) else repr(getattr(p, 'image', None)) for p in answer.parts]
    digest = hashlib.sha256(f'{seed}/{said}'.encode()).digest()
    return None if digest[8] / 256 < share_lost else int.from_bytes(digest[:4], 'big') / 2**32

  return grade


@settings(max_examples=40, deadline=None)
@given(
  st.integers(0, 1 << 30),
  st.sampled_from([0.0, 0.3, 0.9]),
  st.integers(1, 4),
  st.integers(0, 3),
  st.permutations(RESPONSES),
)
def test_the_selectors_score_never_falls(seed, lost, keep, variants, responses):
  grade = random_grade(seed, lost)
  plan = Plan(samples=4, keep=keep, enhance=Enhance(variants, 2), polish=Polish(2))
  tree = (result := run(plan, responses=responses, grade=grade)).tree
  score = lambda index: grade(tree.answer(index))
  for index, revision in enumerate(tree.revisions):
    won = any(f.revision == index and f.stage == 'enhance' and f.kept for f in tree.fates)
    if won and revision.stage == 'enhance':
      assert score(index) > score(revision.parent)
  last = [f for f in tree.fates if f.stage == 'final']
  competed = [score(f.revision) for f in last if score(f.revision) is not None]
  if competed:
    assert score(result.chosen) == max(competed)


def test_the_same_seed_and_replies_give_the_same_answer():
  rows = []
  for order in (lambda k: 0.0, lambda k: 0.03 * (3 - k)):
    found = run(grade=random_grade(5), order=order)
    tree = found.tree
    rows.append((tree.revisions[found.chosen].answer.document.response, tree.fates, tree.notes, tree.live))
    pictures = [p.image.sha256 for p in found.answer.pictures]
    rows[-1] += (pictures, [(r.parent, r.stage, r.changed) for r in tree.revisions])
  assert rows[0] == rows[1]


def test_stages_can_be_left_out():
  plan = Plan(samples=3, sift=None, select=False, enhance=None, final=False)
  result = run(plan)
  assert (result.chosen, len(result.tree.revisions)) == (0, 3)
  assert {stage for stage, _ in result.account.rows} == {'sample'}


def test_what_writing_took_stands_in_the_answer():
  result = run(grade=random_grade(1))
  used = dict(result.answer.usage)
  assert (used['prompt_tokens'], used['completion_tokens']) == (40.0, 80.0)
  assert used['calls'] == result.account.total.calls > 8
  assert used['seconds'] == pytest.approx(sum(result.account.wall.values()))


@pytest.mark.parametrize('calls', [8, 9, 12, 20])
def test_calls_stay_within_the_budget(calls):
  tools = scaling.Tools()
  result = run(Plan(samples=4, keep=4, enhance=Enhance(3), limits=Limits(calls=calls)), tools=tools)
  # Samples are written together; what they call is known when they have ended.
  assert result.account.total.calls <= max(calls, 8)
  assert result.account.stopped


def test_a_stage_that_hangs_is_cut_and_the_best_so_far_stands():
  async def hang(task, answer):
    await asyncio.sleep(60)

  ledger = Ledger(Limits(seconds=0.5))
  crew = scaling.crew(RESPONSES, ledger=ledger, polisher=hang, grade=random_grade(3), tools=scaling.Tools())
  started = time.monotonic()
  result = asyncio.run(pipeline.run(TASK, crew, WHOLE, 0))
  assert time.monotonic() - started < 5
  best = max(result.tree.live, key=lambda index: random_grade(3)(result.tree.answer(index)))
  assert result.chosen == best
  assert 'seconds' in result.account.stopped['polish'] and 'final' in result.account.stopped


def test_a_selector_that_hangs_for_some_chooses_among_the_others():
  async def ask(task, answer):
    if 'Only' in answer.parts[0].text or 'plot' in answer.parts[0].text:
      await asyncio.sleep(60)
    return await scaling.judge(lambda one: 0.9 if 'house' in one.parts[0].text else 0.2)(task, answer)

  plan = Plan(samples=4, enhance=None, stages={'select': Limits(seconds=0.3)})
  result = run(plan, selector=Scores('double', [ask], scaling.value))
  assert result.chosen == 1


def test_asked_to_stop_it_returns_what_it_has():
  async def work():
    stop = asyncio.Event()
    crew = scaling.crew(RESPONSES, tools=scaling.Tools(), order=lambda k: 60.0 * (k > 1))
    running = asyncio.ensure_future(pipeline.run(TASK, crew, WHOLE, 0, stop))
    await asyncio.sleep(0.3)
    stop.set()
    return await running

  result = asyncio.run(work())
  assert len(result.tree.revisions) == 2 and result.chosen == 0
  assert result.account.stopped['sample'] == pipeline.STOPPED


def test_nothing_written_yet_is_said():
  async def work(plan, stop):
    crew = scaling.crew(RESPONSES, ledger=Ledger(plan.limits), seconds=60.0)
    return await pipeline.run(TASK, crew, plan, 0, stop)

  with pytest.raises(ServiceFault, match=r'budget\.seconds'):
    asyncio.run(work(Plan(limits=Limits(seconds=0.1)), None))
  stop = asyncio.Event()
  stop.set()
  with pytest.raises(Interrupted):
    asyncio.run(work(Plan(), stop))


def test_lost_samples_are_said_and_none_at_all_is_a_fault():
  class Broken(scaling.Writer):
    async def __call__(self, task, n, seed, heard=None, /):
      await super().__call__(task, self.good, seed, heard)
      raise ServiceFault('busy', 'Too many requests.')

  tools = scaling.Tools()
  crew = scaling.crew(RESPONSES, tools=tools)
  writer = Broken(RESPONSES, tools, scaling.dispatcher(tools))
  for writer.good in (2, 0):
    whole = pipeline.run(TASK, dataclasses.replace(crew, generate=writer), Plan(), 0)
    if writer.good:
      result = asyncio.run(whole)
      assert any('2 of 4' in note.words and 'busy' in note.words for note in result.tree.notes)
    else:
      with pytest.raises(ServiceFault):
        asyncio.run(whole)


def fails(share):
  def fail(tool, params, context):
    draw = hashlib.sha256(f'{tool}/{sorted(params.items())}/{context.seed}'.encode()).digest()
    return ToolFailure('The quota is used up.', 'environment') if draw[0] / 256 < share else None

  return fail


def verdict(body, number):
  text = texts(body)
  code = text.partition('BEGIN ANSWER ')[2].split()[0]
  grade = 1 + int(code, 16) % 5
  return Act(text=f'VERDICT {code}\n' + '\n'.join(f'{name}: {grade}' for name in MLLM.scores))


@pytest.mark.parametrize('concurrency', [1, 8])
def test_failing_tools_and_a_provider_that_is_always_busy(concurrency):
  """30 % of tool calls fail; of two providers of the selector one answers 429 only, the other one mostly."""
  refused = {'always': 0, 'mostly': 0}

  def always(body, number):
    refused['always'] += 1
    return Act('status', 'slow down', 429)

  def mostly(body, number):
    if number % 3:
      refused['mostly'] += 1
      return Act('status', 'slow down', 429, headers=(('retry-after', '0'),))
    return verdict(body, number)

  async def work():
    async with ChatServer(always) as busy, ChatServer(mostly) as good:
      chosen = ChatSettings(
        (busy.url, good.url),
        limit=Limit(concurrency, 30.0),
        retry=Retry(60, 0.001, 0.01, budget=60.0, burst=60),
      )
      async with ChatClient(chosen) as chat:
        ledger = Ledger(plan.limits)
        complete = ledger.metered('selector', chat.complete)
        judge = RemoteJudge(MLLM, complete, 'double')
        selector = Scores('double', [judge.judge], scaling.value)
        crew = scaling.crew(
          RESPONSES,
          tools=tools,
          selector=selector,
          ledger=ledger,
          polisher=polisher,
          repairer=repairer,
          concurrency=concurrency,
        )
        return await pipeline.run(TASK, crew, plan, 0)

  tools = scaling.Tools(fails(0.3))
  plan = Plan(samples=8, keep=2, enhance=Enhance(2), polish=Polish(1), limits=Limits(seconds=60))
  started = time.monotonic()
  result = asyncio.run(work())
  assert time.monotonic() - started < 60
  assert not result.account.stopped
  assert refused['always'] and refused['mostly']
  assert result.account.rows['select', 'selector'].calls >= 4
  assert any('lost calls to the environment' in note.words for note in result.tree.notes)
  assert all('verdicts' not in note.words for note in result.tree.notes)


def test_a_selector_that_only_refuses_loses_verdicts_and_nothing_else():
  async def work():
    async with ChatServer(lambda *_: Act('status', 'slow down', 429)) as busy:
      async with ChatClient(ChatSettings((busy.url,), retry=Retry(3, 0.001, 0.01, 3.0))) as chat:
        judge = RemoteJudge(MLLM, chat.complete, 'double')
        crew = scaling.crew(
          RESPONSES, selector=Scores('double', [judge.judge], scaling.value), tools=scaling.Tools()
        )
        return await pipeline.run(TASK, crew, Plan(samples=4), 0)

  result = asyncio.run(work())
  assert result.chosen == 0
  assert any('4 verdicts of the selector were lost' in note.words for note in result.tree.notes)


def test_several_answers_are_several_trees():
  opened = []

  def open_crew(task, seed):
    opened.append(seed)
    return scaling.crew(RESPONSES, seed=seed, tools=scaling.Tools())

  told = []
  generate = pipeline.scaled(open_crew, Plan(samples=2), lambda task, number, result: told.append(number))
  heard = []
  answers = asyncio.run(generate(TASK, 3, 7, lambda number, answer: heard.append(number)))
  assert len(answers) == 3 and sorted(told) == sorted(heard) == [0, 1, 2]
  assert opened[0] == 7 and len(set(opened)) == 3
