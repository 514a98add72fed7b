"""Every loss equals a float64 loop on ragged batches, its gradient finite differences, and nothing is NaN."""

import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from llmi_jax.rl import aggregate, balance, correction, kl, overlong
from llmi_jax.rl.advantages import advantages
from llmi_jax.rl.clip import Clip
from llmi_jax.rl.correction import Correction
from llmi_jax.rl.loss import Surrogate, policy_loss
from llmi_jax.rl.overlong import Overlong
from tests.rl import loops

B, T = 4, 6


def _batch(seed, spread=0.4):
  rng = np.random.default_rng(seed)
  length = rng.integers(0, T + 1, B)
  mask = (np.arange(T) < length[:, None]) & (rng.random((B, T)) < 0.9)
  logp = rng.normal(-2, 1, (B, T))
  near = lambda: logp + rng.normal(0, spread, (B, T))
  return {
    'logp': logp,
    'old': near(),
    'advantage': rng.normal(0, 1, B),
    'mask': mask.astype(np.float64),
    'sampled': near(),
    'reference': near(),
    'entropy': rng.random((B, T)),
  }


KINDS = ('none', 'token', 'sequence', 'mask')
CHOICES = [
  Surrogate(
    ratio, Clip(0.2, 0.28, dual), aggregation, 11.0, objective, Correction(kind, 1.3, 0.7), beta, k, c
  )
  for (ratio, aggregation, objective, kind, k), (dual, beta, c) in zip(
    itertools.chain(
      itertools.product(
        ('token', 'sequence', 'sequence_token'),
        ('token_mean', 'seq_mean_token_mean', 'seq_mean_token_sum', 'constant'),
        ('clip', 'cispo'),
        ('token',),
        ('k3',),
      ),
      itertools.product(('token',), ('token_mean',), ('clip',), KINDS, ('k1', 'k2', 'k3', 'k1_k2', 'k3_k2')),
    ),
    itertools.cycle([(3.0, 0.0, 0.0), (0.0, 0.3, 0.0), (1.1, 0.3, 0.2)]),
  )
]


def _loss(settings, batch, logp=None, **changes):
  given = batch | changes
  weights = aggregate.token_weights(given['mask'], settings.aggregation, constant=settings.constant)
  return policy_loss(
    given['logp'] if logp is None else logp,
    *(given[name] for name in ('old', 'advantage', 'mask')),
    weights,
    settings,
    **{name: given[name] for name in ('sampled', 'reference', 'entropy')},
  )


def test_losses_equal_float64_loops():
  with jax.enable_x64(True):
    for seed, settings in enumerate(CHOICES):
      batch = _batch(seed)
      value, _ = _loss(settings, {name: jnp.asarray(x) for name, x in batch.items()})
      losses = loops.per_token(settings=settings, **batch)
      wanted = loops.aggregate(losses, batch['mask'], settings.aggregation, settings.constant)
      np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12, err_msg=str(settings))


def test_gradients_equal_finite_differences():
  """Where value and gradient belong together; a stopped gradient is a number in the difference."""
  with jax.enable_x64(True):
    for seed, settings in enumerate(CHOICES):
      if settings.objective == 'cispo' or settings.ratio == 'sequence_token' or '_' in settings.kl_kind:
        continue
      batch = {name: jnp.asarray(x) for name, x in _batch(seed + 100).items()}
      value = jax.jit(lambda x, s=settings, b=batch: _loss(s, b, x)[0])
      grad = np.asarray(jax.jit(jax.grad(value))(batch['logp']))
      rng = np.random.default_rng(seed)
      for _ in range(3):
        way = jnp.asarray(rng.normal(size=(B, T)))
        found = (value(batch['logp'] + 1e-6 * way) - value(batch['logp'] - 1e-6 * way)) / 2e-6
        np.testing.assert_allclose(found, (grad * way).sum(), rtol=2e-6, atol=1e-8, err_msg=str(settings))


def test_cispo_moves_every_token_by_its_clipped_weight():
  batch = {name: jnp.asarray(x, jnp.float32) for name, x in _batch(3, 2.0).items()}
  settings = Surrogate(objective='cispo', clip=Clip(1.0, 0.5))
  grad = jax.grad(lambda x: _loss(settings, batch, x)[0])(batch['logp'])
  ratio = np.minimum(np.exp(batch['logp'] - batch['old']), 1.5)
  wanted = -ratio * batch['advantage'][:, None] * batch['mask'] / batch['mask'].sum()
  np.testing.assert_allclose(grad, wanted, rtol=1e-5, atol=1e-7)
  _, sums = _loss(settings, batch)
  assert (
    float(sums['clip_low'])
    == 0
    < float(sums['clip_high'])
    == int(((ratio == 1.5) & (batch['mask'] > 0)).sum())
  )


def test_estimators_of_kl_have_the_gradients_that_they_are_said_to_have():
  """Over all tokens of a small vocabulary, weighted by the policy: an exact expectation."""
  with jax.enable_x64(True):
    logits, other = (jnp.asarray(np.random.default_rng(i).normal(size=5)) for i in (0, 1))
    reference = jax.nn.log_softmax(other)

    def reverse(x):
      p = jax.nn.log_softmax(x)
      return jnp.sum(jnp.exp(p) * (p - reference))

    def forward(x):
      return jnp.sum(jnp.exp(reference) * (reference - jax.nn.log_softmax(x)))

    def expected(kind):
      weight = jax.nn.softmax(logits)

      def loss(x):
        each = kl.penalty(jax.nn.log_softmax(x)[None], reference[None], jnp.ones((1, 5)), kind)
        return jnp.sum(weight * each[0])

      return jax.value_and_grad(loss)(logits)

    np.testing.assert_allclose(expected('k1')[1], 0, atol=1e-12)
    np.testing.assert_allclose(expected('k2')[1], jax.grad(reverse)(logits), atol=1e-12)
    np.testing.assert_allclose(expected('k3')[1], jax.grad(forward)(logits), atol=1e-12)
    for kind in ('k1_k2', 'k3_k2'):
      np.testing.assert_allclose(expected(kind)[1], expected('k2')[1], atol=1e-12)
      np.testing.assert_allclose(expected(kind)[0], reverse(logits), atol=1e-12)


@pytest.mark.parametrize('kind', ['grpo', 'dr_grpo', 'rloo'])
def test_advantages_equal_loops(kind):
  rng = np.random.default_rng(0)
  for _ in range(20):
    rewards = [
      None if rng.random() < 0.3 else round(float(rng.random()), 1) for _ in range(rng.integers(1, 9))
    ]
    found = advantages([[np.nan if r is None else r for r in rewards]], kind)
    np.testing.assert_allclose(found[0], loops.advantages(rewards, kind), atol=2e-5)


def test_goldens_of_corrections_and_overlong_penalties():
  one = jnp.ones((1, 3))
  old, sampled = jnp.log(jnp.array([[0.9, 0.2, 0.4]])), jnp.log(jnp.array([[0.3, 0.4, 0.5]]))
  wanted = {'none': [1, 1, 1], 'token': [2, 0.5, 0.8], 'sequence': [1.2, 1.2, 1.2], 'mask': [0, 0, 0.8]}
  for kind, factors in wanted.items():
    found, _ = correction.weights(old, sampled, one, Correction(kind, 2.0, 0.6))
    np.testing.assert_allclose(found, [factors], rtol=1e-5, err_msg=kind)
  found = overlong.penalty([70, 80, 90, 100, 130], 100, Overlong(20, 0.5))
  np.testing.assert_allclose(found, [0, 0, -0.25, -0.5, -0.5])
  assert not np.asarray(overlong.penalty([100], 100, Overlong())).any()


def test_balance_is_one_where_experts_are_used_alike_and_adds_up_by_sequences():
  even = np.full((2, 1, 4), 3.0)
  np.testing.assert_allclose(balance.sequence_loss(even * 2, even, 2), [1.0], rtol=1e-6)
  lonely = np.zeros((1, 1, 4), np.float32)
  lonely[..., 0] = 5.0
  np.testing.assert_allclose(balance.sequence_loss(lonely, lonely, 1), [4.0], rtol=1e-6)
  rng = np.random.default_rng(0)
  probability = rng.dirichlet(np.ones(4), (3, 2, 7))  # [L, B, T, E]
  choice = np.argsort(-probability, -1)[..., :2]
  wanted = np.zeros(2)
  for layer, row in itertools.product(range(3), range(2)):
    for e in range(4):
      f = 4 / (2 * 7) * sum(e in choice[layer, row, t] for t in range(7))
      wanted[row] += f * sum(probability[layer, row, t, e] for t in range(7)) / 7 / 3
  chosen = np.stack([(choice == e).any(-1).sum(-1) for e in range(4)], -1).astype(np.float32)
  found = balance.sequence_loss(chosen, probability.sum(2).astype(np.float32), 2)
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
  none = balance.sequence_loss(np.zeros((1, 2, 4)), np.zeros((1, 2, 4)), 2)
  assert not np.asarray(none).any()


@pytest.mark.parametrize('kind', ['token_mean', 'seq_mean_token_mean', 'seq_mean_token_sum', 'constant'])
def test_rows_shares_add_up_to_one(kind):
  mask = _batch(1)['mask'].astype(np.float32)
  weights = aggregate.token_weights(mask, kind, constant=5.0)
  np.testing.assert_allclose(aggregate.row_weights(weights, kind, constant=5.0).sum(), 1.0, rtol=1e-6)


NUMBER = st.floats(-(2.0**100), 0, width=32)
ANY = st.one_of(NUMBER, st.just(float('-inf')))


@hypothesis.settings(max_examples=40, deadline=None, phases=[hypothesis.Phase.generate])
@hypothesis.given(
  st.lists(st.tuples(NUMBER, ANY, ANY, ANY, st.booleans()), min_size=6, max_size=6),
  st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2),
  st.sampled_from(CHOICES),
)
def test_nothing_is_nan_on_any_input(tokens, advantage, settings):
  logp, old, sampled, reference = (np.array(x, np.float32).reshape(2, 3) for x in list(zip(*tokens))[:4])
  mask = np.array([t[4] for t in tokens], np.float32).reshape(2, 3)
  hidden = np.where(mask > 0, logp, np.nan)
  settings = settings._replace(kl=0.1, entropy=0.1)
  batch = {
    'old': np.where(mask > 0, old, np.nan),
    'advantage': np.array(advantage, np.float32),
    'mask': mask,
    'sampled': np.where(mask > 0, sampled, np.nan),
    'reference': np.where(mask > 0, reference, np.nan),
    'entropy': np.where(mask > 0, np.float32(0.5), np.nan),
    'logp': hidden,
  }
  batch = {name: jnp.asarray(x, jnp.float32) for name, x in batch.items()}
  (value, sums), grad = jax.value_and_grad(lambda x: _loss(settings, batch, x), has_aux=True)(batch['logp'])
  assert not np.isnan(value) and not np.isnan(grad).any(), settings
  assert not any(np.isnan(x) for x in sums.values()), sums


REWARD = st.one_of(
  st.floats(-(2.0**49), 2.0**49, width=32), st.sampled_from([np.nan, np.inf, 0.1, 0.1 + 1e-9])
)


@hypothesis.settings(max_examples=40, deadline=None, phases=[hypothesis.Phase.generate])
@hypothesis.given(st.lists(REWARD, min_size=1, max_size=9), st.sampled_from(['grpo', 'dr_grpo', 'rloo']))
def test_advantages_are_finite_whatever_the_rewards(rewards, kind):
  found = np.asarray(advantages([rewards], kind))
  assert np.isfinite(found).all() and not found[0, ~np.isfinite(rewards)].any()
