"""A policy that sees, in a whole rollout: what it is shown is what its log-probabilities come from."""

import asyncio
import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax import front, judging, rewarding, toolbox, updating, wiring
from llmi_jax.core.errors import WeightsError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task, TextPart
from llmi_jax.models import decoder, mrope
from llmi_jax.models.decoder import Vision
from llmi_jax.models.vision_layout import arrange, bucket, token_rows
from llmi_jax.programs import learning
from llmi_jax.rollout import batch, pieces
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.services import images
from llmi_jax.update import state as states
from tests.doubles import seeing

CONFIG = str(pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'grpo_tiny.py')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('seeing')
  seeing.make(path)
  return path


@pytest.fixture(scope='module')
def policy(folder):
  return wiring.load_policy(str(folder))


def noise(width, height):
  rng = np.random.default_rng(width)
  return images.from_array(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def task(name, *parts):
  content = tuple(TextPart(part) if isinstance(part, str) else ImagePart(part) for part in parts)
  return Task(name, (Message('user', content),), 'q', ImageRule('free'))


LARGE, SMALL = noise(90, 60), noise(30, 44)
TASKS = [task('two', 'This ', LARGE, ' or ', SMALL, ' or ', LARGE, '?'), task('none', 'Speak of rivers.')]


def rolled(policy):
  config = front.read(CONFIG, ['--config.prompt.tokens=1024', '--config.sampler.tokens=12'])
  config.unlock()
  config.tools.names = ('search', 'edit')

  async def main():
    device = Device()
    try:
      async with toolbox.registry(config.tools, device) as registry:
        roller = Roller(
          device,
          wiring.engine(policy, config, 2, 2),
          wiring.language(policy, registry, config.prompt),
          rewarding.scoring(
            toolbox.dispatcher(registry, config.tools), rewarding.reward(config.reward), judging.programs(), 0
          ),
          0,
          12,
          wiring.sight(policy),
        )
        params = await device.run(jax.jit(decoder.decode_view), policy.model)
        return await rollout(roller, params, TASKS, 2, 0, 'train', Timeline()), roller.sight.counts
    finally:
      device.close()

  return asyncio.run(main())


def whole_pass(policy, turn):
  """Log-probabilities of a turn's tokens, by one pass over prompt, pictures and response."""
  config, prompt = policy.config, turn.prompt
  windows, seen = config.vision.windows, None
  tokens = np.concatenate([prompt.tokens, turn.tokens])
  grids = [prompt.vision[i].grid for i in prompt.images]
  positions, _ = mrope.positions(tokens, grids, image_pad=seeing.IMAGE, merge=2)
  if prompt.vision:
    slots = max(bucket(one.grid, windows) for one in prompt.vision)
    laid = arrange([(one.patches, one.grid) for one in prompt.vision], windows, slots=slots)
    rows = np.full((1, len(tokens)), -1, np.int32)
    shown = [(i * slots // 4, prompt.vision[i].grid) for i in prompt.images]
    rows[0, tokens == seeing.IMAGE] = token_rows(shown, windows)
    seen = Vision(decoder.see(policy.model, laid, config=config), jnp.asarray(rows))
  length = jnp.array([len(tokens)])
  hidden, _, _ = decoder.forward(
    policy.model, tokens[None], positions[:, None], length, vision=seen, config=config
  )
  logits = decoder.unembed(policy.model, hidden)[0, len(prompt.tokens) - 1 : -1]
  return np.asarray(jax.nn.log_softmax(logits))[np.arange(len(turn.tokens)), turn.tokens]


def test_a_rollout_shows_pictures_and_its_log_probabilities_are_those_of_one_pass(policy):
  found, counts = rolled(policy)
  assert [(t.task.id, t.sample) for t in found] == [('two', 0), ('two', 1), ('none', 0), ('none', 1)]
  assert (counts.prompts, counts.pictures) == (1, 2)
  for trajectory in found:
    (turn,) = trajectory.turns
    np.testing.assert_allclose(turn.logp_full, whole_pass(policy, turn), atol=2e-5)
  shown = found[0].turns[0].prompt
  assert shown.images == (0, 1, 0) and counts.tokens == (shown.tokens == seeing.IMAGE).sum() > 0


@pytest.mark.slow
def test_the_learner_sees_what_the_sampler_saw_and_trains_the_tower(policy):
  config = front.read(CONFIG, ['--config.prompt.tokens=1024', '--config.sampler.tokens=12'])
  found, _ = rolled(policy)
  found = [dataclasses.replace(t, reward=float(t.sample)) for t in found]
  whole = batch.assemble(batch.with_advantages(found, 2))
  width = int(whole.prompt_len.max())
  rows = batch.share_prompts(whole, 2, width, 12)
  album = batch.pictures(whole, 2, width, wiring.sight(policy).eyes)
  micros = pieces.micro_batches(rows, pieces.MicroBatches(0, (12,)), updating.surrogate(config), album)
  start = jax.device_get(policy.model)
  state = states.fresh(policy.model, dataclasses.replace(wiring.optimizer(config), warmup=0))
  update = learning.updater(
    updating.learner(config, policy),
    dataclasses.replace(wiring.optimizer(config), warmup=0),
    updating.goal(config, policy),
  )
  state, out = update(jax.tree.map(jnp.array, state), micros)
  assert float(out['logp_gap_max']) < 1e-5 and not float(out['skipped'])
  assert (np.asarray(state.params.tower.patch.w) != start.tower.patch.w[...]).any()


def test_pixels_are_capped(folder, policy):
  assert policy.processor.max_pixels == 1024
  assert wiring.load_policy(str(folder), pixels=256).processor.max_pixels == 256
  assert wiring.load_policy('builtin:tiny', pixels=256).processor is None


@pytest.mark.parametrize(
  ('changes', 'said'),
  [
    ({'patch_size': 4}, 'has patch 4 and the vision tower 2'),
    ({'merge_size': 1}, 'has merge 1 and the vision tower 2'),
    ({'temporal_patch_size': 1}, 'has frames 1 and the vision tower 2'),
  ],
)
def test_a_processor_of_another_tower_is_refused(folder, tmp_path, changes, said):
  for file in folder.iterdir():
    (tmp_path / file.name).symlink_to(file)
  (tmp_path / 'preprocessor_config.json').unlink()
  (tmp_path / 'preprocessor_config.json').write_text(json.dumps(seeing.PROCESSOR | changes))
  with pytest.raises(WeightsError, match=said):
    wiring.load_policy(str(tmp_path))


def test_a_tokenizer_with_another_image_token_is_refused(folder, policy):
  other = dataclasses.replace(policy.config, image_token=7)
  with pytest.raises(WeightsError, match='the id 1022 and the model 7'):
    wiring.check_processor(policy.processor, policy.tokenizer, other, folder)
