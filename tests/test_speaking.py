"""A judge in the same process: beside a rollout on one device thread, by our own engine."""

import asyncio
import pathlib
import re

import numpy as np
import pytest

from llmi_jax import front, judging, speaking, wiring
from llmi_jax.core.answer import Answer, Picture, Prose
from llmi_jax.core.document import ToolCall
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task, TextPart
from llmi_jax.rollout.batcher import Job
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.episode import Place
from llmi_jax.sampling.request import Sample
from llmi_jax.services import images
from llmi_jax.services.faults import ServiceFault
from llmi_jax.text import conversation
from tests.doubles import seeing

CONFIG = str(pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'grpo_tiny.py')
PICTURE = images.from_array(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
TASK = Task('t', (Message('user', (TextPart('Show a river.'),)),), 'Show a river.', ImageRule('free'))
CALL = ToolCall('<imgen></imgen>', 0, 15, 'search', 'a river', {'query': 'river'})
ANSWER = Answer('t', (Prose('A river runs from its source to the sea.'), Picture(PICTURE, 0, CALL)))


def reward(path, *overrides):
  values = {'judges': 'local', 'local.path': path, 'local.rows': 2, 'local.prompt_tokens': 6000}
  values |= {f'remote.{name}.tokens': 16 for name in ('llm', 'mllm')}
  lines = [f'--config.reward.{key}={value}' for key, value in values.items()]
  return front.read(CONFIG, [*lines, *(f'--config.reward.{one}' for one in overrides)]).reward


def opened(config, work):
  async def main():
    device = Device()
    try:
      async with speaking.judge(config, device) as here, judging.bench(config, None, None, here) as bench:
        return await work(device, here, bench)
    finally:
      device.close()

  return asyncio.run(main())


def judged(device, here, bench):
  at = Place('train', 0, 0)
  return asyncio.gather(*(judge(TASK, ANSWER, at) for judge in bench.judges))


@pytest.fixture(scope='module')
def sighted(tmp_path_factory):
  folder = tmp_path_factory.mktemp('seeing')
  seeing.make(folder)
  return folder


def test_both_judges_are_this_process_and_are_shown_pictures(sighted):
  async def work(device, here, bench):
    seen = here.generate.batcher.sight.counts
    return await judged(device, here, bench), seen.pictures, here, bench.gauges()

  (llm, mllm), pictures, here, gauges = opened(reward(sighted), work)
  # Random weights give no verdict: it is missing under that name, and what was said is kept.
  for verdict in (llm, mllm):
    assert verdict.status == 'missing' and verdict.reason.startswith(('no_verdict', 'truncated'))
    assert verdict.raw and verdict.tokens > 32
    assert re.fullmatch(re.escape(f'{sighted.name}@') + r'[0-9a-f]{12} at T=0\.5', verdict.model)
  assert here.sees and pictures == 2  # of the picture judge: asked, and asked once more
  assert gauges['calls/mllm/asked'] == 1


def test_it_answers_while_a_rollout_holds_the_thread_and_the_same_as_alone(sighted):
  config = reward(sighted, 'mllm=0')
  alone = opened(config, judged)

  async def beside(device, here, bench):
    done = asyncio.Event()

    def rollout():
      while not done.is_set():
        yield 'look'

    async def consume():
      async for _ in device.stream(rollout):
        pass

    rolling = asyncio.ensure_future(consume())
    verdicts = await judged(device, here, bench)
    done.set()
    await rolling
    return verdicts

  (one,), (other,) = alone, opened(config, beside)
  assert one.raw == other.raw and one.reason == other.reason


@pytest.mark.slow
def test_votes_differ_and_a_judge_with_an_address_is_asked_there():
  async def work(device, here, bench):
    assert not here.sees
    return await judged(device, here, bench)

  verdicts = opened(reward('builtin:tiny', 'mllm=0', 'remote.llm.votes=3', 'remote.llm.seeded=False'), work)
  assert [v.judge for v in verdicts] == ['llm'] * 3 and len({v.raw for v in verdicts}) == 3
  with pytest.raises(ConfigError, match='The judge mllm cannot be used'):
    opened(reward('builtin:tiny', 'remote.mllm.urls=("http://127.0.0.1:9/v1",)'), work)


def test_what_is_too_long_or_cannot_be_seen_is_refused_like_by_a_server():
  async def work(device, here, bench):
    (verdict,) = await judged(device, here, bench)
    with pytest.raises(ServiceFault, match='reads text alone') as fault:
      message = Message('user', (ImagePart(PICTURE),))
      await here.generate([message], temperature=0.5, tokens=4, seed=0)
    return verdict, fault.value.cause

  verdict, cause = opened(reward('builtin:tiny', 'mllm=0', 'local.prompt_tokens=64'), work)
  assert verdict.status == 'missing' and verdict.reason.startswith('refused: The prompt has')
  assert cause == 'refused'


def test_who_gives_up_frees_his_row():
  async def work(device, here, bench):
    batcher = here.generate.batcher
    prompt = conversation.encode(
      [Message('user', (TextPart('Show a tabby cat.'),))],
      wiring.load_policy('builtin:tiny').tokenizer,
      limit=99,
    )
    lost, other = Job(prompt, 0, 512, 1.0), Job(prompt, 1, 8, 1.0)
    batcher.submit(lost)
    await lost.events.get()
    lost.dropped = True
    batcher.submit(other)
    await other.last()
    left = [lost.events.get_nowait() for _ in range(lost.events.qsize())]
    return [event for event in left if isinstance(event, Sample)]

  # There is one row, and the other reply did not wait for the end of this one.
  assert opened(reward('builtin:tiny', 'mllm=0', 'local.rows=1', 'remote.llm.tokens=512'), work) == []


@pytest.mark.parametrize(
  ('path', 'overrides', 'said'),
  [
    ('', (), 'reward.local.path is empty'),
    ('builtin:tiny', (), 'has no vision tower'),
    ('builtin:none', (), 'There is no policy builtin:none'),
    ('builtin:tiny', ('mllm=0', 'remote.llm.form=json'), 'follows no schema'),
    ('builtin:tiny', ('mllm=0', 'judges=near'), 'known are offline, remote, local and paths of .py files'),
  ],
)
def test_mistakes_are_told_at_the_start(path, overrides, said):
  with pytest.raises(ConfigError) as raised:
    opened(reward(path, *overrides), judged)
  assert said in str(raised.value)


def test_a_work_folder_can_be_named(tmp_path):
  assert speaking.load('builtin:tiny').folder == wiring.policy_folder('builtin:tiny')
  (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(ConfigError, match='no work folder'):
    speaking.load(str(tmp_path))
