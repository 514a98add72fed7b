import asyncio
import dataclasses
import time

import numpy as np
import pytest

from llmi_jax.core.document import Malformed, ToolCall
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import Candidate
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.services import images
from llmi_jax.services.cache import Cache
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit, Rate
from llmi_jax.services.retry import Retry
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Registry, Tool, ToolFailure, success
from llmi_jax.tools.session import SessionKey

KEY = SessionKey(0, 3, 'task', 1)
DRAW = ToolSpec('draw', 'Draws.', (Parameter('what', 'string', 'it'),))
EDIT = ToolSpec(
  'edit', 'Edits.', (Parameter('img_index', 'image', 'which'), Parameter('what', 'string', 'how'))
)


def picture(value: int):
  return images.from_array(np.full((2, 2, 3), value, np.uint8))


class Studio:
  """Two real tools that note what they were asked, and how many ran at once."""

  def __init__(self, seconds=0.0):
    self.seconds = seconds
    self.asked = []
    self.running = self.most = self.cancelled = 0

  async def work(self, params, context):
    self.asked.append((dict(params), context))
    self.running += 1
    self.most = max(self.most, self.running)
    try:
      await asyncio.sleep(self.seconds)
    except asyncio.CancelledError:
      self.cancelled += 1
      raise
    finally:
      self.running -= 1
    match params['what']:
      case 'nothing':
        raise ToolFailure('There is nothing to draw.', 'policy')
      case 'quota':
        raise ToolFailure('The quota is used up.', 'environment')
      case 'bug':
        raise ZeroDivisionError('oops')
      case 'timeout':
        raise TimeoutError('the socket timed out')
      case 'cancel':
        raise asyncio.CancelledError
    shade = sum(int(images.to_array(image)[0, 0, 0]) for image in context.images.values())
    return success(Candidate(picture(shade + 1)))

  def dispatcher(self, seeded=False, **options):
    tools = [Tool(DRAW, self.work, seeded=seeded), Tool(EDIT, self.work)]
    return Dispatcher(Registry(tools), **options)


def call(position, what='cat', tool='draw', **params):
  return ToolCall('<imgen>', 0, position=position, tool=tool, description='', params={'what': what} | params)


def edit(position, source, what='grey'):
  return call(position, what, 'edit', img_index=source)


def task(inputs=0, **fields):
  parts = tuple(ImagePart(picture(100 + i)) for i in range(inputs))
  return Task('task', (Message('user', parts),), 'q', ImageRule('free'), **fields)


def run(dispatcher, segments, of=None, key=KEY, **options):
  async def main():
    session = dispatcher.open(of or task(), key, **options)
    for segment in segments:
      session.submit(segment)
    return await session.finish()

  return asyncio.run(main())


def test_independent_calls_run_together_and_outcomes_stand_in_order():
  studio = Studio(0.1)
  outcomes = run(studio.dispatcher(), [call(i, f'cat {i}') for i in range(6)])
  assert studio.most == 6
  assert list(outcomes) == list(range(6))
  first = outcomes[0]
  assert (first.status, first.tool, first.provider, first.executed) == (
    'ok',
    'draw',
    'builtin',
    (('what', 'cat 0'),),
  )
  assert first.ended - first.started >= 0.1 and first.image.source == 'draw:0'


def test_calls_start_while_the_response_is_still_being_written():
  studio = Studio()

  async def main():
    session = studio.dispatcher().open(task(), KEY)
    session.submit(call(0))
    await asyncio.sleep(0.05)
    early = len(studio.asked)
    session.submit(call(1, 'dog'))
    await session.finish()
    return early

  assert asyncio.run(main()) == 1


def test_an_edit_waits_for_the_picture_it_names_and_a_chain_of_edits_works():
  outcomes = run(Studio(0.02).dispatcher(), [call(1), edit(2, 1), edit(3, 2), edit(4, 0)], task(inputs=1))
  shades = {i: images.to_array(o.image)[0, 0, 0] for i, o in outcomes.items()}
  assert shades == {1: 1, 2: 2, 3: 3, 4: 101}


def test_an_edit_without_its_picture_fails_in_words_and_blames_the_cause():
  bad = Malformed('<imgen>', 0, position=0, reason='syntax', detail='broken')
  segments = [bad, call(1, 'nothing'), call(2, 'quota'), edit(3, 0), edit(4, 1), edit(5, 2), edit(6, 9)]
  outcomes = run(Studio().dispatcher(), segments)
  assert list(outcomes) == [1, 2, 3, 4, 5, 6]
  said = {i: (o.status, o.fault) for i, o in outcomes.items()}
  assert said[3] == said[4] == ('failed', 'policy')
  assert said[5] == ('unavailable', 'environment')
  assert said[6] == ('invalid', 'policy')
  assert 'malformed' in outcomes[3].error and 'nothing to draw' in outcomes[4].error


def test_faults_are_told_apart():
  words = ['nothing', 'quota', 'bug', 'timeout', 'cancel']
  outcomes = run(Studio().dispatcher(), [call(i, word) for i, word in enumerate(words)])
  assert [o.fault for o in outcomes.values()] == ['policy'] + ['environment'] * 4
  assert [o.status for o in outcomes.values()] == ['failed'] + ['unavailable'] * 4
  assert 'ZeroDivisionError: oops' in outcomes[2].error


def test_what_is_not_offered_or_one_call_too_many_does_not_run():
  studio = Studio()
  segments = [call(0, tool='paint'), edit(1, 0), *(call(i, f'{i}') for i in range(2, 7))]
  outcomes = run(studio.dispatcher(max_calls=4), segments, task(offered_tools=('draw',)))
  assert [o.status for o in outcomes.values()] == ['not_offered'] * 2 + ['ok'] * 2 + ['invalid'] * 3
  assert all(o.fault == 'policy' for o in outcomes.values() if o.status != 'ok')
  assert 'offered: draw' in outcomes[1].error and len(studio.asked) == 2


def test_a_deadline_ends_a_call_and_is_the_environments_doing():
  studio = Studio(5)
  start = time.monotonic()
  outcome = run(studio.dispatcher(limits={'draw': Limit(1, 0.1)}), [call(0)])[0]
  assert time.monotonic() - start < 4 and studio.cancelled == 1
  assert (outcome.status, outcome.fault) == ('unavailable', 'environment') and '0.1 s' in outcome.error


def test_concurrency_is_per_tool_and_waiting_for_a_place_costs_no_time_of_the_call():
  studio = Studio(0.06)
  dispatcher = studio.dispatcher(limits={'draw': Limit(2, 0.15)})
  outcomes = run(dispatcher, [call(i, f'{i}') for i in range(8)])
  assert studio.most == 2 and all(o.status == 'ok' for o in outcomes.values())


def test_the_context_carries_seed_variant_candidates_deadline_and_only_the_named_picture():
  studio = Studio()
  run(studio.dispatcher(True), [call(2), edit(3, 1)], task(inputs=2), candidates=4, variant=2)
  (_, drawing), (_, editing) = studio.asked
  assert (drawing.seed, drawing.variant, drawing.candidates) == (KEY.seed_of(2, 2), 2, 4)
  assert 0 < drawing.deadline - time.monotonic() <= 60
  assert not drawing.images and list(editing.images) == [1]


def test_seeds_depend_on_every_part_of_the_key_and_on_nothing_else():
  keys = [KEY] + [
    dataclasses.replace(KEY, **change)
    for change in ({'seed': 1}, {'step': 4}, {'task': 'other'}, {'sample': 2})
  ]
  seeds = [k.seed_of(0, 0) for k in keys] + [KEY.seed_of(1, 0), KEY.seed_of(0, 1)]
  assert len(set(seeds)) == 7 and all(0 <= s < 2**31 for s in seeds)
  assert KEY.seed_of(0, 0) == SessionKey(0, 3, 'task', 1).seed_of(0, 0) == 361468411


def test_equal_calls_in_flight_are_shared_and_keep_their_own_labels():
  studio = Studio(0.05)
  outcomes = run(studio.dispatcher(), [call(0), call(1), call(2, 'dog')])
  assert len(studio.asked) == 2
  assert [o.image.source for o in outcomes.values()] == ['draw:0', 'draw:1', 'draw:2']


def test_equal_calls_of_a_seeded_tool_are_drawn_apart():
  studio = Studio(0.05)
  outcomes = run(studio.dispatcher(True), [call(0), call(1)])
  assert len(studio.asked) == 2 and outcomes[0].seed != outcomes[1].seed


def test_cancelling_a_session_stops_its_calls_and_spares_shared_ones():
  studio = Studio(0.3)

  async def main():
    dispatcher = studio.dispatcher()
    first, second = dispatcher.open(task(), KEY), dispatcher.open(task(), KEY)
    first.submit(call(0))
    first.submit(call(1, 'dog'))
    second.submit(call(0))
    waiting = asyncio.ensure_future(first.finish())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() and studio.cancelled == 1 and studio.running == 1
    outcomes = await second.finish()
    assert outcomes[0].status == 'ok'
    third = dispatcher.open(task(), KEY)
    third.submit(call(0))
    await asyncio.sleep(0)
    await third.cancel()
    await asyncio.sleep(0)
    assert studio.running == 0 and len(asyncio.all_tasks()) == 1

  asyncio.run(main())


def test_successes_are_cached_and_failures_are_not(tmp_path):
  studio = Studio()
  segments = [call(0), call(1, 'nothing'), edit(2, 0)]
  first = run(studio.dispatcher(cache=Cache(tmp_path)), segments)
  asked = len(studio.asked)
  again = run(studio.dispatcher(cache=Cache(tmp_path)), segments, key=SessionKey(9, 9, 'task', 9))
  assert asked == 3 and [p['what'] for p, _ in studio.asked[asked:]] == ['nothing']
  assert again[0] == first[0] and again[2] == first[2]


def test_a_journalled_run_is_replayed_without_a_single_call(tmp_path):
  studio = Studio()
  segments = [call(0), call(1, 'nothing'), call(2, 'quota'), edit(3, 0)]
  first = run(studio.dispatcher(True, journal=Journal(tmp_path)), segments)
  asked = len(studio.asked)
  again = run(studio.dispatcher(True, journal=Journal(tmp_path)), segments)
  assert asked == 4 == len(studio.asked) and again == first
  run(studio.dispatcher(True, journal=Journal(tmp_path)), segments, key=dataclasses.replace(KEY, step=4))
  assert len(studio.asked) == 8


class Flaky(Studio):
  """Meets a fault that may pass, so many times, before it works."""

  def __init__(self, faults, cause='server'):
    super().__init__()
    self.faults, self.cause = faults, cause

  async def work(self, params, context):
    if self.faults:
      self.faults -= 1
      raise ServiceFault(self.cause, 'The provider answered 503.')
    return await super().work(params, context)


def test_faults_that_may_pass_are_tried_again_and_counted():
  quick = Retry(3, base=0.001, cap=0.002)
  dispatcher = Flaky(2).dispatcher(retry=quick)
  outcome = run(dispatcher, [call(0)])[0]
  assert (outcome.status, outcome.attempts) == ('ok', 3)
  assert dispatcher.gauges() == {'calls/draw/retries': 2.0, 'calls/draw/retries_denied': 0.0}
  outcome = run(Flaky(9).dispatcher(retry=quick), [call(0)])[0]
  assert (outcome.fault, outcome.attempts) == ('environment', 3) and 'server: The provider' in outcome.error
  outcome = run(Flaky(9, 'refused').dispatcher(retry=quick), [call(0)])[0]
  assert (outcome.fault, outcome.attempts) == ('environment', 1)


def test_no_wait_between_tries_goes_beyond_the_deadline():
  start = time.monotonic()
  slow = Retry(50, base=0.05, cap=0.05)
  outcome = run(Flaky(10**6).dispatcher(retry=slow, limits={'draw': Limit(1, 0.3)}), [call(0)])[0]
  assert outcome.fault == 'environment' and outcome.attempts > 1 and time.monotonic() - start < 3


def test_retries_keep_to_a_budget():
  flaky = Flaky(10**6)
  dispatcher = flaky.dispatcher(retry=Retry(4, base=0.0, cap=0.0, budget=0.1, burst=5))
  outcomes = run(dispatcher, [call(i, f'{i}') for i in range(10)])
  tries = 10**6 - flaky.faults
  assert tries <= 10 + 5 + 1 and all(o.fault == 'environment' for o in outcomes.values())
  assert dispatcher.gauges()['calls/draw/retries_denied'] > 0


def test_starts_are_bounded_per_minute():
  studio = Studio()
  start = time.monotonic()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Rate.__init__, '__defaults__', (0.3,))  # a minute of 0.3 s
    run(studio.dispatcher(limits={'draw': Limit(8, 5.0, per_minute=2)}), [call(i, f'{i}') for i in range(6)])
  assert time.monotonic() - start >= 0.6 and len(studio.asked) == 6


def test_two_tools_of_one_name_are_refused():
  with pytest.raises(ConfigError, match="'draw'"):
    Registry([Tool(DRAW, Studio().work)] * 2)
