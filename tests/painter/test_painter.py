"""The painter's network and flow: shapes, invariances, learning, and a second implementation of a step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.painter import flow, words
from llmi_jax.painter.network import Painter, Shape, predict

SMALL = Shape(9, side=16, patch=8, width=32, layers=2, heads=2)
VOCABULARY = {'red': 1, 'blue': 2, 'house': 3, 'cottage': 3, 'butterfly': 4, 'boat': 5, 'box': 6, 'grass': 7}


@pytest.fixture(scope='module')
def params():
  made = Painter(SMALL, jax.random.key(0))
  # The last projection starts at zero; here it must say something.
  keys = iter(jax.random.split(jax.random.key(1), 100))
  return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), made)


def test_captions_become_the_words_that_are_known():
  assert words.ids('Two RED boats, a cottage & butterflies: boxes!', VOCABULARY) == [1, 5, 3, 4, 6]
  assert words.ids('grass zebra glass', VOCABULARY) == [7]
  tokens = words.encode(['red ' * 99, ''], VOCABULARY)
  assert tokens.shape == (2, words.LENGTH) and tokens.dtype == np.int32
  assert (tokens[0] == 1).all() and (tokens[1] == words.NOTHING).all()


def test_a_picture_depends_on_caption_and_seed_and_not_on_its_neighbours(params):
  captions = words.encode(['red boat', 'blue house', 'red boat', 'red boat'], VOCABULARY)
  seeds = np.array([1, 1, 1, 2], np.uint32)
  together = np.asarray(flow.paint(params, SMALL, captions, seeds))
  assert together.shape == (4, 16, 16, 3) and together.dtype == np.uint8
  assert np.array_equal(together[0], together[2])
  assert (together[0] != together[1]).any() and (together[0] != together[3]).any()
  moved = np.asarray(flow.paint(params, SMALL, captions[::-1], seeds[::-1]))[::-1]
  # The same program; another row may round another way.
  assert np.abs(moved.astype(int) - together.astype(int)).max() <= 1


def test_the_order_of_words_counts_and_empty_places_do_not(params):
  noisy, time = jax.random.normal(jax.random.key(2), (1, 16, 16, 3)), jnp.array([0.3])

  def see(*ids):
    caption = np.zeros((1, words.LENGTH), np.int32)
    caption[0, : len(ids)] = ids
    return np.asarray(predict(params, SMALL, noisy, time, caption))

  assert np.abs(see(1, 3, 2, 5) - see(2, 3, 1, 5)).max() > 1e-3
  changed = params.words[...].at[words.NOTHING].set(99.0)
  other = jax.tree.map(lambda leaf: leaf, params)
  other.words = type(params.words)(changed)
  caption = np.array([[1, 3] + [words.NOTHING] * (words.LENGTH - 2)], np.int32)
  assert np.array_equal(
    np.asarray(predict(other, SMALL, noisy, time, caption)),
    np.asarray(predict(params, SMALL, noisy, time, caption)),
  )


def test_painting_is_guided_euler_written_out_in_numpy(params):
  captions, seeds = words.encode(['red boat'], VOCABULARY), np.array([7], np.uint32)
  nothing = np.zeros_like(captions)
  x = np.asarray(jax.random.normal(jax.random.key(7, impl='threefry2x32'), (16, 16, 3)))[None].astype(
    np.float64
  )

  def see(x, time, caption):
    return np.asarray(
      predict(params, SMALL, jnp.asarray(x, jnp.float32), jnp.array([time]), caption), np.float64
    )

  times = (*flow.TIMES, 1.0)
  for time, after in itertools.pairwise(times):
    untold = see(x, time, nothing)
    picture = np.clip(untold + 1.7 * (see(x, time, captions) - untold), -1, 1)
    velocity = (picture - x) / (1 - time)
    x = x + velocity * (after - time)
  expected = np.round((x + 1) * 127.5)
  got = np.asarray(flow.paint(params, SMALL, captions, seeds, guidance=1.7)).astype(int)
  assert np.abs(got - expected).max() <= 1


def test_patches_and_pictures_are_the_same_numbers():
  from llmi_jax.painter import network

  pictures = jax.random.normal(jax.random.key(3), (2, 16, 16, 3))
  patches = network._to_patches(pictures, SMALL)
  assert patches.shape == (2, 4, 192)
  assert np.array_equal(patches[0, 1].reshape(8, 8, 3), pictures[0, :8, 8:])
  assert np.array_equal(network._from_patches(patches, SMALL), pictures)


def test_it_learns_to_tell_two_captions_apart():
  import optax

  captions = words.encode(['red', 'blue'] * 4, VOCABULARY)
  colours = np.array([[1, -1, -1], [-1, -1, 1]] * 4, np.float32)
  pictures = np.broadcast_to(colours[:, None, None], (8, 16, 16, 3))
  params = Painter(SMALL, jax.random.key(4))
  rule = optax.adam(3e-3)
  state = rule.init(params)

  @jax.jit
  def step(params, state, key):
    value, grads = jax.value_and_grad(flow.loss)(params, SMALL, pictures, captions, key)
    with jax.numpy_dtype_promotion('standard'):
      updates, state = rule.update(grads, state)
      return optax.apply_updates(params, updates), state, value

  losses = []
  for key in jax.random.split(jax.random.key(5), 150):
    params, state, value = step(params, state, key)
    losses.append(float(value))
  assert losses[-1] < 0.2 * losses[0]
  painted = np.asarray(flow.paint(params, SMALL, captions[:2], np.array([1, 2], np.uint32))).mean((1, 2))
  assert painted[0].argmax() == 0 and painted[1].argmax() == 2
