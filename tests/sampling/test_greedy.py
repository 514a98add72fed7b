"""Greedy tokens equal transformers' `generate`: of policies that see, and of mixtures of experts."""

import dataclasses

import jax
import numpy as np
import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.core.prompt import Prompt, Vision
from llmi_jax.models.decoder import decode_view
from llmi_jax.programs import generation
from llmi_jax.rollout.sight import Eyes, Sight
from llmi_jax.sampling.engine import Engine, EngineConfig
from llmi_jax.sampling.keys import row_keys
from llmi_jax.sampling.logits import Sampling
from llmi_jax.weights.load import load_pretrained
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
  model, config = load_pretrained(folder)
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


class Ours:
  """Our engine over a policy."""

  def __init__(self, policy, sight=None, **changes):
    _, self.view, config = policy
    sizes = dataclasses.replace(SIZES, **changes)
    model = generation.sampler(config, sizes)
    self.sight = sight or Sight(Eyes(model.see, config.vision, IMAGE) if model.see else None)
    self.engine = Engine(model, sizes)

  def __call__(self, prompts, samples=1):
    """Finished samples by (prompt, sample)."""
    for i, one in enumerate(prompts):
      # A key is its prompt's alone.
      keys = row_keys(0, 'eval', 0, np.full(samples, len(one.tokens), np.uint32), np.arange(samples))
      self.engine.submit(self.sight.request(self.view, i, one, keys, NEW))
    found = {}
    while self.engine.busy:
      for sample in self.engine.step(self.view):
        found[sample.id, sample.sample] = sample
    return found


def test_a_policy_that_sees_writes_what_transformers_writes(seeing):
  prompts = [prompt(pieces) for pieces in PROMPTS]
  ours = Ours(seeing)
  found = ours(prompts)
  for i, one in enumerate(prompts):
    assert found[i, 0].tokens.tolist() == theirs(seeing[0], one), PROMPTS[i]
  # The tower sees each distinct picture of a prompt once.
  counts = ours.sight.counts
  assert (counts.prompts, counts.pictures) == (6, 1 + 1 + 1 + 4 + 2 + 1)
  assert counts.tokens == sum((one.tokens == IMAGE).sum() for one in prompts)


def test_a_picture_of_a_larger_bucket_stands_beside_small_ones(seeing):
  one = prompt('2 a e 3 b e 1')  # 34×12 patches take more than 256 slots
  found = Ours(seeing, prompt_slots=256, first_bucket=128, prefill_tokens=128)([one])
  assert found[0, 0].tokens.tolist() == theirs(seeing[0], one)


@pytest.mark.slow
def test_a_mixture_writes_what_transformers_writes(mixture):
  prompts = [prompt(pieces) for pieces in ('9', '3', '33', '17', '40', '5', '28')]
  found = Ours(mixture)(prompts)
  for i, one in enumerate(prompts):
    assert found[i, 0].tokens.tolist() == theirs(mixture[0], one), i


@pytest.mark.slow
def test_the_same_request_gives_the_same_tokens_alone_and_in_any_batch(seeing):
  prompts = [prompt(pieces) for pieces in PROMPTS]
  few = Ours(seeing, rows=2, sampling=Sampling(1.0))
  alone = [few([one], samples=2) for one in prompts]
  many = Ours(seeing, few.sight, rows=64, chunk=3, prefill_tokens=64, sampling=Sampling(1.0))
  for ours, order in ((few, slice(None)), (many, slice(None)), (many, slice(None, None, -1))):
    found = ours(prompts[order], samples=2)
    assert len(found) == 2 * len(prompts)
    for (i, sample), one in found.items():
      wanted = alone[order][i][0, sample]
      assert one.tokens.tolist() == wanted.tokens.tolist(), (order, i)
      np.testing.assert_allclose(one.logp_full, wanted.logp_full, atol=1e-4)


def test_what_cannot_be_seen_is_refused(seeing, mixture):
  vision = seeing[2].vision
  with pytest.raises(DataError, match='only reads'):
    Sight().check(prompt('2 a'))
  with pytest.raises(DataError, match='expand each picture'):
    Sight(Eyes(print, vision, 7)).check(prompt('2 a'))
  tall = Vision('t', np.zeros((400 * 44, 24), np.float32), (1, 400, 44), 100 * 44)
  tokens = np.full(tall.tokens, IMAGE, np.int32)
  with pytest.raises(DataError, match='largest bucket'):
    Sight(Eyes(print, vision, IMAGE)).check(Prompt(tokens, vision=(tall,), images=(0,)))
