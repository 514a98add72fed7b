"""Losses against independent float64 loops, and goldens worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.rl import aggregate, clip, kl, ratios
from llmi_jax.rl.advantages import advantages
from llmi_jax.rl.gate import Weights, gated_reward
from llmi_jax.rl.loss import Surrogate, policy_loss

RNG = np.random.default_rng(0)
B, T = 5, 7
LENGTHS = np.array([7, 3, 0, 5, 1])
MASK = (np.arange(T) < LENGTHS[:, None]).astype(np.float32)
LOGP = RNG.normal(-2, 1, (B, T)).astype(np.float32)
OLD = (LOGP + RNG.normal(0, 0.3, (B, T))).astype(np.float32)
ADVANTAGE = RNG.normal(0, 1, B).astype(np.float32)


def test_group_deviation_is_unbiased():
  np.testing.assert_allclose(advantages([[1.0, 0, 0, 0]]), [[1.5, -0.5, -0.5, -0.5]], atol=1e-5)


def test_unscorable_samples_stand_in_no_statistic():
  with_gap = advantages([[1.0, np.nan, 0, 0.5]])
  without = advantages([[1.0, 0, 0.5]])
  np.testing.assert_allclose(np.delete(with_gap, 1, 1), without, atol=1e-6)
  assert with_gap[0, 1] == 0


@pytest.mark.parametrize('rewards', [[0.1] * 6, [0.7, np.nan, np.nan], [np.nan] * 3, [0.1 + 0.2, 0.3, 0.3]])
def test_uninformative_groups_have_no_advantage(rewards):
  np.testing.assert_array_equal(advantages([rewards]), np.zeros((1, len(rewards))))


def test_rloo_is_the_reward_minus_the_mean_of_the_others():
  rewards = np.array([[0.2, 0.9, 0.4]])
  wanted = [[r - np.delete(rewards[0], i).mean() for i, r in enumerate(rewards[0])]]
  np.testing.assert_allclose(advantages(rewards, 'rloo'), wanted, atol=1e-6)


def _loop(kind, settings):
  """The surrogate and its aggregation, one token at a time in float64."""
  total, rows = 0.0, [i for i in range(B) if LENGTHS[i]]
  for i in rows:
    delta = [float(LOGP[i, t]) - float(OLD[i, t]) for t in range(LENGTHS[i])]
    terms = []
    for t in range(LENGTHS[i]):
      rho = np.exp(delta[t] if kind == 'token' else np.mean(delta))
      a = float(ADVANTAGE[i])
      loss = max(-a * rho, -a * min(max(rho, 1 - settings.low), 1 + settings.high))
      terms.append(min(loss, -a * settings.dual) if a < 0 and settings.dual else loss)
    total += np.array([np.sum(terms), np.mean(terms)])
  count = LENGTHS.sum()
  return {
    'token_mean': total[0] / count,
    'seq_mean_token_mean': total[1] / len(rows),
    'seq_mean_token_sum': total[0] / len(rows),
    'constant': total[0] / len(rows) / 11,
  }


@pytest.mark.parametrize('ratio', ['token', 'sequence', 'sequence_token'])
@pytest.mark.parametrize(
  'aggregation', ['token_mean', 'seq_mean_token_mean', 'seq_mean_token_sum', 'constant']
)
def test_policy_loss_equals_a_float64_loop(ratio, aggregation):
  bounds = clip.Clip(0.2, 0.28, 3.0)
  settings = Surrogate(ratio, bounds, aggregation, 11.0)
  weights = aggregate.token_weights(MASK, aggregation, constant=11.0)
  loss, _ = policy_loss(LOGP, OLD, ADVANTAGE, MASK, weights, settings)
  np.testing.assert_allclose(loss, _loop(ratio, bounds)[aggregation], rtol=1e-5)


def test_dual_clip_golden():
  loss, clipped = clip.surrogate(jnp.log(jnp.array([[5.0]])), jnp.array([[-1.0]]), clip.Clip(0.2, 0.2, 3.0))
  assert float(loss[0, 0]) == pytest.approx(3.0) and bool(clipped.dual[0, 0])


def test_gspo_and_gspo_token_have_equal_gradients_under_sequence_means():
  weights = aggregate.token_weights(MASK, 'seq_mean_token_mean')

  def gradient(kind):
    settings = Surrogate(kind, clip.Clip(0.2, 0.2), 'seq_mean_token_mean')
    return jax.grad(lambda x: policy_loss(x, OLD, ADVANTAGE, MASK, weights, settings)[0])(LOGP)

  np.testing.assert_allclose(gradient('sequence'), gradient('sequence_token'), atol=1e-7)


def test_nan_behind_the_mask_harms_nothing():
  logp, old = np.where(MASK > 0, LOGP, np.nan), np.where(MASK > 0, OLD, -np.inf)
  weights = aggregate.token_weights(MASK)
  value, gradient = jax.value_and_grad(
    lambda x: policy_loss(x, old, ADVANTAGE, MASK, weights, Surrogate())[0]
  )(logp)
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_all_masked_batch_is_zero():
  zero = np.zeros_like(MASK)
  weights = aggregate.token_weights(zero)
  loss, _ = policy_loss(LOGP, OLD, ADVANTAGE, zero, weights, Surrogate())
  assert float(loss) == 0


def test_kl_goldens():
  one = np.ones((1, 1), np.float32)
  for kind, wanted in (('k1', -0.1), ('k2', 0.005), ('k3', 0.0051709)):
    np.testing.assert_allclose(kl.penalty(0 * one, 0.1 * one, one, kind), [[wanted]], rtol=1e-4)


@pytest.mark.parametrize(
  ('gate', 'parts', 'wanted'),
  [
    ('paper', (0.5, 0.8, 0.6), 0.2 * 0.5 + 0.5 * 0.8 + 0.3 * 0.5 * 0.6),
    ('all', (0.5, 0.8, 0.6), 0.2 * 0.5 + 0.5 * 0.5 * 0.8 + 0.3 * 0.5 * 0.6),
    ('none', (0.5, 0.8, 0.6), 0.2 * 0.5 + 0.5 * 0.8 + 0.3 * 0.6),
    ('paper', (0.0, 0.8, np.nan), 0.4),
    ('paper', (0.5, 0.8, np.nan), np.nan),
    ('paper', (np.nan, 0.8, 0.6), np.nan),
    ('all', (0.0, np.nan, np.nan), 0.0),
  ],
)
def test_gate(gate, parts, wanted):
  np.testing.assert_allclose(gated_reward(*parts, Weights(), gate), wanted, rtol=1e-6)


def test_log_ratio_of_an_empty_row_is_zero():
  assert not np.asarray(ratios.log_ratios(LOGP, OLD, MASK, 'sequence'))[2].any()
