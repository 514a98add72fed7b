"""Greedy tokens equal transformers' `generate`: of policies that see, and of mixtures of experts."""

import dataclasses

import jax
import numpy as np
import pytest

from llmi_jax import programs
from llmi_jax.core.errors import DataError
from llmi_jax.core.prompt import Prompt, Vision
from llmi_jax.models.decoder import decode_view
from llmi_jax.rollout.sight import Eyes, Sight
from llmi_jax.sampling.engine import Engine, EngineConfig
from llmi_jax.sampling.keys import row_keys
from llmi_jax.sampling.logits import Sampling
from llmi_jax.weights.load import load
from tests.models import originals
from tests.models.originals import END, IMAGE, START

NEW = 20
SIZES = EngineConfig(
  rows=6,
  samples=2,
  prompt_slots=64,
  response_slots=NEW,
  vocab=96,
  width=32,
  stops=(1,),
  chunk=4,
  prefill_tokens=16,
  first_bucket=8,
  sampling=Sampling(0.0),
)
# A letter is a picture, a number so many words; pictures first, last, in a row, twice, and none.
GRIDS = {'a': (1, 4, 4), 'b': (1, 2, 6), 'c': (1, 6, 10), 'd': (1, 8, 2), 'e': (1, 34, 12)}
PROMPTS = ('9', 'a 6', '3 b 4 b', '7 d', '2 a 1 b 2 c d 1', '33', '5 d d c 2', 'c')


@pytest.fixture(scope='module', autouse=True)
def quick_to_compile():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def saved(original, folder):
  original.save_pretrained(folder)
  model, config = load(folder)
  return original, decode_view(model), config


@pytest.fixture(scope='module')
def seeing(tmp_path_factory):
  return saved(originals.seeing(), tmp_path_factory.mktemp('seeing'))


@pytest.fixture(scope='module')
def mixture(tmp_path_factory):
  return saved(originals.mixture(), tmp_path_factory.mktemp('mixture'))


def prompt(pieces, seed=0):
  """A prompt as `text/` would make it, of random words and pixels."""
  rng = np.random.default_rng([seed, *pieces.encode()])
  tokens, letters = [], []
  for piece in pieces.split():
    if piece.isdigit():
      tokens += rng.integers(2, 80, int(piece)).tolist()
      continue
    _, height, width = GRIDS[piece]
    tokens += [START, *[IMAGE] * (height * width // 4), END]
    letters.append(piece)
  distinct = sorted(set(letters))
  return Prompt(
    np.array(tokens, np.int32),
    vision=tuple(picture(letter) for letter in distinct),
    images=tuple(distinct.index(letter) for letter in letters),
  )


def picture(letter):
  count = GRIDS[letter][1] * GRIDS[letter][2]
  patches = np.random.default_rng(ord(letter)).normal(size=(count, 24)).astype(np.float32)
  return Vision(letter, patches, GRIDS[letter], count // 4)


def theirs(original, prompt):
  """What `generate` adds to one prompt."""
  import torch

  ids = torch.tensor(prompt.tokens)[None].long()
  more = {}
  if prompt.vision:
    shown = [prompt.vision[i] for i in prompt.images]
    more['pixel_values'] = torch.tensor(np.concatenate([one.patches for one in shown]))
    more['image_grid_thw'] = torch.tensor([one.grid for one in shown])
    more['mm_token_type_ids'] = (ids == IMAGE).int()
  with torch.no_grad():
    found = original.generate(
      ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, **more
    )
  return found[0, ids.shape[1] :].tolist()


def ours(policy, prompts, samples=1, **changes):
  """Tokens and log-probabilities by (prompt, sample)."""
  _, view, config = policy
  sizes = dataclasses.replace(SIZES, **changes)
  model = programs.sampler(config, sizes)
  sight = Sight(Eyes(model.see, config.vision, IMAGE) if model.see else None)
  engine = Engine(model, sizes)
  for i, one in enumerate(prompts):
    # A key is its prompt's alone.
    word = np.full(samples, len(one.tokens), np.uint32)
    engine.submit(sight.request(view, i, one, row_keys(0, 'eval', 0, word, np.arange(samples)), NEW))
  found = {}
  while engine.busy:
    for sample in engine.step(view):
      found[sample.id, sample.sample] = sample
  return found, sight.counts


def test_a_policy_that_sees_writes_what_transformers_writes(seeing):
  prompts = [prompt(pieces) for pieces in PROMPTS]
  found, counts = ours(seeing, prompts)
  for i, one in enumerate(prompts):
    assert found[i, 0].tokens.tolist() == theirs(seeing[0], one), PROMPTS[i]
  # The tower sees each distinct picture of a prompt once.
  assert (counts.prompts, counts.pictures) == (6, 1 + 1 + 1 + 4 + 2 + 1)
  assert counts.tokens == sum((one.tokens == IMAGE).sum() for one in prompts)


def test_a_picture_of_a_larger_bucket_stands_beside_small_ones(seeing):
  one = prompt('2 a e 3 b e 1')  # 34×12 patches take more than 256 slots
  found, _ = ours(seeing, [one], prompt_slots=256)
  assert found[0, 0].tokens.tolist() == theirs(seeing[0], one)


def test_a_mixture_writes_what_transformers_writes(mixture):
  prompts = [prompt(pieces) for pieces in ('9', '3', '33', '17', '40', '5', '28')]
  found, _ = ours(mixture, prompts)
  for i, one in enumerate(prompts):
    assert found[i, 0].tokens.tolist() == theirs(mixture[0], one), i


@pytest.mark.parametrize('temperature', [0.0, 1.0])
def test_the_same_request_gives_the_same_tokens_alone_and_in_any_batch(seeing, temperature):
  prompts = [prompt(pieces) for pieces in PROMPTS]
  drawn = {'sampling': Sampling(temperature)}
  alone = {i: ours(seeing, [one], samples=2, rows=2, **drawn)[0] for i, one in enumerate(prompts)}
  for changes in ({'rows': 2}, {'rows': 64}, {'rows': 5, 'chunk': 3, 'prefill_tokens': 8}):
    found, _ = ours(seeing, prompts, samples=2, **drawn, **changes)
    assert len(found) == 2 * len(prompts)
    for (i, sample), one in found.items():
      assert one.tokens.tolist() == alone[i][0, sample].tokens.tolist(), (changes, PROMPTS[i])
      np.testing.assert_allclose(one.logp_full, alone[i][0, sample].logp_full, atol=1e-4)


def test_what_cannot_be_seen_is_refused(seeing, mixture):
  vision = seeing[2].vision
  with pytest.raises(DataError, match='only reads'):
    Sight().check(prompt('2 a'))
  with pytest.raises(DataError, match='expand each picture'):
    Sight(Eyes(None, vision, 7)).check(prompt('2 a'))
  tall = Vision('t', np.zeros((400 * 44, 24), np.float32), (1, 400, 44), 100 * 44)
  tokens = np.full(tall.tokens, IMAGE, np.int32)
  with pytest.raises(DataError, match='largest bucket'):
    Sight(Eyes(None, vision, IMAGE)).check(Prompt(tokens, vision=(tall,), images=(0,)))
