"""The scaled policy as entry points have it: presets, refusals, the real tiny policy with its tools."""

import asyncio
import dataclasses
import json
import pathlib
import socket

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest
import uvicorn
from absl import flags

from llmi_jax import answering, crews, front, scaling, wiring
from llmi_jax.answering import Writing
from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.errors import ConfigError
from llmi_jax.data.builtin import generate as builtin
from llmi_jax.rollout.device import Device
from llmi_jax.serve import documents
from llmi_jax.serve.door import Refused
from llmi_jax.services import images
from llmi_jax.services.journal import Journal
from llmi_jax.speaking import Limits
from llmi_jax.tts import page, record

flags.FLAGS.mark_as_parsed()
ROOT = pathlib.Path(__file__).resolve().parents[1]


def config(name, *changes):
  return front.read(str(ROOT / 'configs' / name), [f'--config.{change}' for change in changes])


@pytest.mark.parametrize('name', ['tts_small.py', 'tts_paper.py:http://127.0.0.1:1/v1', 'tts_large.py'])
def test_presets_are_plans(name):
  plan = crews.plan(config(name))
  assert plan.samples > plan.keep and plan.enhance and plan.limits.seconds


@pytest.mark.parametrize(
  ('name', 'changes', 'said'),
  [
    ('tts_paper.py', [], 'The selector of test-time scaling has no address'),
    ('tts_small.py', ['select.by=list'], 'programs only give scores'),
    ('tts_small.py', ['select.by=best'], "select.by is 'best'"),
    ('tts_small.py', ['selector.judges=near'], "selector.judges is 'near'"),
    ('tts_small.py', ['selector.preset=mine'], "selector.preset is 'mine'"),
    ('tts_small.py', ['select.k=9'], 'cannot go on'),
    ('tts_small.py', ['enhance.repairer=me'], "The repairer is 'me'"),
    ('tts_small.py', ["filter.levels=('good',)"], "no level 'good'"),
    ('tts_small.py', ['polish.on=true'], 'answers no chat requests here'),
  ],
)
def test_what_cannot_work_is_one_sentence(name, changes, said):
  async def open_it():
    chosen = config(name, *changes)
    async with crews.opened(chosen, crews.Materials(None, (), None, lambda *_: None)):
      pass

  with pytest.raises(ConfigError, match=said):
    asyncio.run(open_it())


def test_the_judge_that_selects_does_not_report():
  with pytest.raises(ConfigError, match='insist'):
    crews.check_judge(config('tts_small.py'), 'm', 'm')
  assert not crews.check_judge(config('tts_small.py'), 'm', 'other')
  insisting = config('tts_small.py', 'selector.insist=true')
  assert 'is the one that selected' in crews.check_judge(insisting, 'm', 'm')


def test_a_folder_is_one_scalings(tmp_path):
  scaling.claim(tmp_path, {'seed': 0, 'prompt': 'x'})
  scaling.claim(tmp_path, {'seed': 0, 'prompt': 'x'})
  with pytest.raises(ConfigError, match='another seed'):
    scaling.claim(tmp_path, {'seed': 1, 'prompt': 'x'})


@pytest.fixture(scope='module')
def tiny():
  return front.read(str(ROOT / 'configs' / 'grpo_tiny.py')), wiring.load_policy('builtin:tiny')


def test_flops_are_those_of_the_matrices(tiny):
  _, policy = tiny
  shape = policy.config
  heads = shape.width * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
  matrices = shape.vocab * shape.width + shape.layers * (heads + 3 * shape.width * shape.ff)
  assert scaling.flops_per_token(policy) == pytest.approx(2 * matrices, rel=2e-3)


def run(tiny, chosen, work, **more):
  loaded, policy = tiny
  device = Device()

  async def start():
    async with scaling.policy(chosen, loaded, policy, device, seed=0, **more) as generate:
      return await work(generate)

  try:
    return asyncio.run(start())
  finally:
    device.close()


def scale(tiny, folder, seed=3):
  """One scaled answer with everything on record, and what it came to."""
  task = next(t for t in builtin.tasks('test') if t.required_tools == ('search',))
  journal, found = Journal(folder), []

  def told(task, number, result):
    record.write(folder, [(task, number, result)])
    page.write(folder, task, result)
    found.append(result)

  try:
    chosen = config('tts_small.py', 'enhance.repairer=none')
    answers = run(tiny, chosen, lambda generate: generate(task, 1, seed), journal=journal, told=told)
    return answers[0], found[0]
  finally:
    journal.close()


def test_the_tiny_policy_scaled(tiny, tmp_path):
  """Sampled as one group, judged by programs, enhanced by the real tools, on record."""
  answer, result = scale(tiny, tmp_path)
  assert answer.document == result.tree.answer(result.chosen).document
  rows = result.account.rows
  assert rows['sample', 'policy'].prompt_tokens < 200 < rows['sample', 'policy'].flops
  assert len(pq.read_table(tmp_path / record.TREE)) == len(result.tree.revisions) >= 4
  assert json.loads((tmp_path / record.ACCOUNT).read_text())[0]['task'] == answer.task_id
  assert (tmp_path / page.NAME).is_file()
  values = [fate.value for fate in result.tree.fates if fate.stage == 'select']
  assert len(values) > 1 and values == sorted(values, reverse=True)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_tree(tiny, tmp_path):
  trees = []
  for folder in (tmp_path / 'a', tmp_path / 'a', tmp_path / 'b'):
    _, result = scale(tiny, folder)
    timeless = [dataclasses.replace(r.answer, usage=()).parts for r in result.tree.revisions]
    words = [[part.text if isinstance(part, Prose) else part.call.raw for part in one] for one in timeless]
    trees.append((words, result.tree.fates, result.tree.notes))
  assert trees[0] == trees[1] == trees[2]


@pytest.mark.slow
def test_samples_of_one_prompt_do_not_depend_on_their_group(tiny):
  """Four at once, the prompt read once, are the four of two pairs and of single ones."""
  loaded, policy = tiny
  task = builtin.tasks('test')[0]

  async def answers(samples):
    device = Device()
    writing = Writing(1.0, 48, 'refused', stream='tts')
    try:
      async with answering.workshop(loaded, device, writing, None, None, 0) as shop:
        async with answering.policy(policy, device, shop, 192, 8, samples) as generate:
          return await generate(task, 4, 5)
    finally:
      device.close()

  found = [asyncio.run(answers(samples)) for samples in (4, 2, 1)]
  texts = [[answer.document.response for answer in one] for one in found]
  assert texts[0] == texts[1] == texts[2] and len(set(texts[0])) > 1
  tokens = [[dict(answer.usage)['prompt_tokens'] for answer in one] for one in found]
  assert [sum(n > 0 for n in one) for one in tokens] == [1, 2, 4]


REQUEST = 'Show a tabby cat in real life, with one picture.'


def asked(**fields):
  return json.dumps({'messages': [{'role': 'user', 'content': REQUEST}]} | fields).encode()


@pytest.mark.parametrize('field', ['stream', 'temperature', 'max_tokens', 'logprobs'])
def test_documents_refuse_what_is_set_elsewhere(field):
  with pytest.raises(Refused, match=field):
    documents.read(asked(**{field: 1}))


def test_a_document_has_its_pictures_inside():
  picture = images.from_array(np.zeros((4, 4, 3), np.uint8))
  parts = (Prose('A cat.'), Picture(picture, 0), Prose('None:'), Gap('It [failed](http://x).', 1))
  text = documents.markdown(Answer('t', parts))
  assert text.startswith('A cat.\n\n![picture](data:image/png;base64,') and '(http' not in text


@pytest.mark.slow
def test_the_chat_server_serves_documents(tiny):
  async def work(generate):
    server = uvicorn.Server(
      uvicorn.Config(documents.app(generate, 'scaled'), log_level='error', lifespan='off')
    )
    place = socket.socket()
    place.bind(('127.0.0.1', 0))
    serving = asyncio.ensure_future(server.serve([place]))
    url = f'http://127.0.0.1:{place.getsockname()[1]}/v1'
    try:
      async with httpx2.AsyncClient(timeout=120) as client:
        while not server.started:
          await asyncio.sleep(0.01)
        good = await client.post(f'{url}/chat/completions', content=asked(seed=0))
        bad = await client.post(f'{url}/chat/completions', content=asked(stream=True))
        return good.json(), bad
    finally:
      server.should_exit = True
      await serving

  good, bad = run(tiny, config('tts_small.py', 'enhance.repairer=none'), work)
  assert 'data:image/png;base64,' in good['choices'][0]['message']['content']
  assert good['usage']['completion_tokens'] > 0 and good['llmi_jax']['calls'] > 0
  assert bad.status_code == 400 and 'stream' in bad.json()['error']['message']


def test_limits_make_room_for_polishing(tiny):
  loaded, policy = tiny
  plain = scaling.sizes(config('tts_small.py', 'enhance.repairer=none'), policy, loaded)
  assert plain == Limits(loaded.prompt.tokens, loaded.sampler.tokens, 8, 4)
  held = scaling.sizes(config('tts_small.py', 'polish.on=true'), policy, loaded)
  assert (held.prompt, held.response) == (512, 512)  # half of what the tiny policy can hold


@pytest.mark.slow
def test_the_policy_polishes_and_is_held_to_the_rules(tiny):
  """The tiny policy cannot polish: whatever it replies is refused, and the unpolished answer stands."""
  task = builtin.tasks('test')[0]
  changes = ['polish.on=true', 'polish.tokens=64', 'enhance.on=false', 'sample.n=2']
  found = []
  chosen = config('tts_small.py', *changes)
  run(tiny, chosen, lambda generate: generate(task, 1, 0), told=lambda t, n, result: found.append(result))
  account = found[0].account
  assert account.rows['polish', 'polisher'].calls == 1
  assert account.rows['polish', 'polisher'].flops > 0
  assert found[0].tree.revisions[found[0].chosen].stage == 'sample'
  assert any('refused' in fate.why for fate in found[0].tree.fates if fate.stage == 'polish')
  assert record.account(account)['polish_seconds_per_iteration'] > 0
