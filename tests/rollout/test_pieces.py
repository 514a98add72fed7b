"""Micro-batches add up to the whole batch, in any cut."""

import jax
import numpy as np
import pytest

from llmi_jax import update
from llmi_jax.core.errors import ConfigError
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import learning
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rollout.pieces import MicroBatches, cut
from llmi_jax.update import Rows

CONFIG = DecoderConfig('Qwen3ForCausalLM', 48, 16, 24, 2, 2, 1, 8)
P, R, TP, TR = 4, 3, 6, 10


@pytest.fixture(scope='module')
def setting():
  rng = np.random.default_rng(0)
  length = rng.integers(1, TR + 1, P * R).astype(np.int32)
  mask = (np.arange(TR) < length[:, None]).astype(np.float32)
  mask[2] = 0  # an unscorable row
  rows = Rows(
    rng.integers(0, 48, (P, TP)).astype(np.int32),
    rng.integers(2, TP + 1, P).astype(np.int32),
    rng.integers(0, 48, (P * R, TR)).astype(np.int32),
    length,
    mask,
    rng.normal(-3, 1, mask.shape).astype(np.float32),
    rng.normal(0, 1, P * R).astype(np.float32),
  )
  return Decoder(CONFIG, jax.random.key(0)), rows


def _gradient(setting, pieces, aggregation):
  model, rows = setting
  surrogate = Surrogate(aggregation=aggregation)
  add = jax.jit(update.make_add(learning.learner(CONFIG), surrogate))
  sums = update.empty(model)
  for piece, weights in cut(rows, pieces, surrogate):
    sums = add(model, sums, piece, weights)
  return sums


@pytest.mark.parametrize('aggregation', ['token_mean', 'seq_mean_token_mean'])
def test_gradient_does_not_depend_on_the_cut(setting, aggregation):
  whole = _gradient(setting, MicroBatches(P, (TR,)), aggregation)
  for prompts, widths in ((1, (TR,)), (2, (4, 7, TR)), (1, tuple(range(1, TR + 1)))):
    parts = _gradient(setting, MicroBatches(prompts, widths), aggregation)
    leaves = list(zip(jax.tree.leaves(parts.grads), jax.tree.leaves(whole.grads)))
    error = np.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in leaves))
    norm = np.sqrt(sum(float((b**2).sum()) for _, b in leaves))
    assert error / norm < 2e-6
    np.testing.assert_allclose(parts.out['loss'], whole.out['loss'], rtol=1e-5)


def test_rows_that_are_masked_change_nothing(setting):
  model, rows = setting
  other = rows._replace(tokens=rows.tokens.copy(), logp_sampled=rows.logp_sampled.copy())
  other.tokens[2], other.logp_sampled[2] = 7, np.nan
  one = _gradient((model, rows), MicroBatches(P, (TR,)), 'token_mean')
  two = _gradient((model, other), MicroBatches(P, (TR,)), 'token_mean')
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)):
    np.testing.assert_array_equal(a, b)


def test_an_indivisible_cut_is_refused(setting):
  with pytest.raises(ConfigError, match='4 prompts per step cannot be cut into micro-batches of 3'):
    cut(setting[1], MicroBatches(3, (TR,)), Surrogate())
