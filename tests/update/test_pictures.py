"""An update sees what prompts show: its gradients, the vision tower's too, are the original's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.prompt import Prompt, Vision
from llmi_jax.models import lora
from llmi_jax.models.names import places
from llmi_jax.models.sharding import leaf_name
from llmi_jax.programs import learning
from llmi_jax.rollout import pieces
from llmi_jax.rollout.album import Album
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.update import step
from llmi_jax.update.loss import Goal
from llmi_jax.update.rows import Rows
from llmi_jax.weights.load import load_pretrained
from tests.models import originals
from tests.models.originals import END, IMAGE, START

GRIDS = {'a': (1, 4, 4), 'b': (1, 2, 6), 'c': (1, 6, 10)}
ASKED = (['2', 'a', '1', 'b', '2'], ['3', 'c', 'a', '1'], ['5'])
R, TR = 2, 4
RNG = np.random.default_rng(0)
PATCHES = {x: RNG.normal(size=(g[1] * g[2], 24)).astype(np.float32) for x, g in GRIDS.items()}


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
  folder = tmp_path_factory.mktemp('seeing')
  original = originals.seeing()
  original.save_pretrained(folder)
  return original, *load_pretrained(folder)


@pytest.fixture(scope='module', autouse=True)
def quick_to_compile():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def _prompt(parts):
  tokens, letters = [], []
  for part in parts:
    if part.isdigit():
      tokens += list(RNG.integers(2, 80, int(part)))
    else:
      tokens += [START, *[IMAGE] * (len(PATCHES[part]) // 4), END]
      letters.append(part)
  distinct = sorted(set(letters))
  vision = tuple(Vision(x, PATCHES[x], GRIDS[x], len(PATCHES[x]) // 4) for x in distinct)
  return Prompt(np.array(tokens, np.int32), '', vision, tuple(distinct.index(x) for x in letters))


PROMPTS = tuple(_prompt(parts) for parts in ASKED)
WIDTH = max(len(p.tokens) for p in PROMPTS)


def _rows():
  length = np.array([4, 2, 3, 4, 1, 4], np.int32)
  mask = (np.arange(TR) < length[:, None]).astype(np.float32)
  prompt = np.stack([np.pad(p.tokens, (0, WIDTH - len(p.tokens))) for p in PROMPTS])
  tokens = RNG.integers(2, 80, mask.shape).astype(np.int32)
  lengths = np.array([len(p.tokens) for p in PROMPTS], np.int32)
  advantage = np.array([1.0, -0.5, 0.7, 0.2, -1.0, 0.4], np.float32)
  return Rows(prompt, lengths, tokens, length, mask, 0 * mask, advantage)


ROWS = _rows()


def _sums(model, config, settings, share=True, frozen=()):
  policy, goal = learning.learner(config, share=share), Goal()
  trained, fixed = lora.split(model, frozen)
  add, sums = jax.jit(step.make_add(policy, goal)), step.empty(trained)
  album = Album(PROMPTS, config.vision, IMAGE, WIDTH)
  for micro in pieces.micro_batches(ROWS, settings, goal.surrogate, album):
    sums = add(trained, sums, micro.rows, micro.weights, fixed)
  return sums


def _original_gradients(original):
  """Of −Σ A·w·ℓ over whole rows, one after the other."""
  import torch

  original.zero_grad()
  for row in range(len(ROWS.length)):
    prompt, n = PROMPTS[row // R], int(ROWS.length[row])
    ids = torch.tensor(np.concatenate([prompt.tokens, ROWS.tokens[row, :n]])[None]).long()
    kinds = {'mm_token_type_ids': (ids == IMAGE).int()}
    if prompt.vision:
      shown = [prompt.vision[i] for i in prompt.images]
      kinds['pixel_values'] = torch.tensor(np.concatenate([one.patches for one in shown]))
      kinds['image_grid_thw'] = torch.tensor([one.grid for one in shown])
    logp = torch.log_softmax(original(ids, **kinds).logits[0, len(prompt.tokens) - 1 : -1], -1)
    own = logp[torch.arange(n), torch.tensor(ROWS.tokens[row, :n]).long()]
    (-float(ROWS.advantage[row]) / float(ROWS.mask.sum()) * own.sum()).backward()
  return originals.files(originals.gradients(original))


def test_gradients_with_pictures_equal_the_original(policy):
  original, model, config = policy
  sums = _sums(model, config, MicroBatches(0, (TR,)))
  wanted = _original_gradients(original)
  leaves = {leaf_name(p): np.asarray(g) for p, g in jax.tree_util.tree_leaves_with_path(sums.grads)}
  for tensor, place in places(config).items():
    grad = leaves[place.leaf][place.index]
    grad = (grad.T if place.transposed else grad).reshape(wanted[tensor].shape)
    assert np.linalg.norm(grad - wanted[tensor]) <= 1e-3 * np.linalg.norm(wanted[tensor]) + 1e-7, tensor
  assert any(name.startswith('tower.') and leaf.any() for name, leaf in leaves.items())


@pytest.mark.slow
def test_cuts_and_whole_rows_give_the_same_gradient_and_a_frozen_tower_none(policy):
  _, model, config = policy
  whole = _sums(model, config, MicroBatches(0, (TR,)))
  for other in (
    _sums(model, config, MicroBatches(1, (TR,))),
    _sums(model, config, MicroBatches(0, (TR,)), False),
  ):
    pairs = list(zip(jax.tree.leaves(other.grads), jax.tree.leaves(whole.grads), strict=True))
    error = sum(float(((a - b) ** 2).sum()) for a, b in pairs) / sum(float((b**2).sum()) for _, b in pairs)
    assert error**0.5 < 3e-6
  frozen = _sums(model, config, MicroBatches(0, (TR,)), frozen=('tower.*',))
  rest = lora.split(whole.grads, ('tower.*',))[0]
  for a, b in zip(jax.tree.leaves(frozen.grads), jax.tree.leaves(rest), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_an_album_holds_each_picture_of_a_micro_batch_once(policy):
  config = policy[2]
  album = Album(PROMPTS, config.vision, IMAGE, WIDTH)
  seen = album.seen([1, -1, 0])
  assert [one.live.shape for one in seen.pictures] == [(4, 256)]
  assert seen.rows[1].max() == -1 and (seen.rows[0] >= 0).sum() == 15 + 4
  # The picture that both prompts show has one place.
  first, second = (row[row >= 0] for row in (seen.rows[0], seen.rows[2]))
  np.testing.assert_array_equal(first[15:], second[:4])
  assert album.seen([2, -1]) is None
  plan = pieces.plan(np.full((2, 3, R), 1), MicroBatches(1, (TR,)))
  with pytest.raises(ConfigError, match='run in one process'):
    pieces.cut(ROWS, plan, 0, jnp.ones_like(ROWS.mask), album)
