"""Several updates per rollout, reference policies, replayed experts, bf16 computation, and what they cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.models import lora
from llmi_jax.models.config import DecoderConfig, Experts
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import learning
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rollout import pieces
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.update import state as states
from llmi_jax.update import step
from llmi_jax.update.loss import Before, Goal
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.rows import Rows

SIZES = {'vocab': 32, 'width': 16, 'ff': 24, 'layers': 1, 'heads': 2, 'kv_heads': 1, 'head_dim': 8}
DENSE = DecoderConfig('Qwen3ForCausalLM', **SIZES)
MIXED = DecoderConfig('Qwen3MoeForCausalLM', experts=Experts(4, 2, 16, True, (0,)), **SIZES)
OPTIMIZER = Optimizer(1e-2, 0, 10)
P, R, TP, TR = 4, 2, 4, 5


@pytest.fixture(scope='module', autouse=True)
def quick_to_compile():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@functools.cache
def _kept(config):
  return jax.device_get(jax.jit(lambda key: Decoder(config, key))(jax.random.key(0)))


def _model(config):
  return jax.tree.map(jnp.asarray, _kept(config))


def _rows():
  rng = np.random.default_rng(0)
  mask = np.ones((P * R, TR), np.float32)
  return Rows(
    rng.integers(0, 32, (P, TP)).astype(np.int32),
    np.full(P, TP, np.int32),
    rng.integers(0, 32, (P * R, TR)).astype(np.int32),
    np.full(P * R, TR, np.int32),
    mask,
    np.full(mask.shape, -3.5, np.float32),
    rng.normal(0, 1, P * R).astype(np.float32),
  )


def _same(one, other):
  return all((a == b).all() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@pytest.mark.slow
def test_the_second_update_is_centred_on_the_policy_that_sampled():
  settings, goal, policy = MicroBatches(0, (TR,), updates=2), Goal(), learning.learner(DENSE)
  micros = pieces.micro_batches(_rows(), settings, goal.surrogate)
  assert [m.update for m in micros] == [0, 1]
  state, out = learning.updater(policy, OPTIMIZER, goal)(states.fresh(_model(DENSE), OPTIMIZER), micros)
  assert int(state.step) == 1 and float(out['tokens']) == P * R * TR and float(out['kl_old']) > 0
  # By hand: the first update, then the second against log-probabilities from before it.
  own, model = learning.steps(policy, OPTIMIZER, goal, None), _model(DENSE)
  old = own.look(model, micros[1].rows, None)
  first = own.add(model, own.start(model), micros[0].rows, micros[0].weights, None, None, None)
  hand, _ = own.end(states.fresh(model, OPTIMIZER), first, False)
  second = own.add(hand.params, own.start(hand.params), micros[1].rows, micros[1].weights, None, None, old)
  assert not np.isclose(float(second.out['ratio']), float(second.out['tokens']), rtol=1e-6)
  hand, _ = own.end(hand, second, True)
  assert _same(hand, state)


def test_with_one_update_no_pass_is_made_before_it_and_ratios_are_one():
  calls = []
  policy = learning.learner(DENSE)
  counted = policy._replace(respond=lambda *a: calls.append(a) or policy.respond(*a))
  update = learning.updater(counted, OPTIMIZER, Goal())
  micros = pieces.micro_batches(_rows(), MicroBatches(0, (TR,)), Surrogate())
  _, out = update(states.fresh(_model(DENSE), OPTIMIZER), micros)
  assert len(calls) == 1 and float(out['ratio']) == 1.0 and float(out['kl_old']) == 0.0


@pytest.mark.parametrize('adapted', [False, True])
def test_kl_compares_with_where_the_run_began(adapted):
  goal = Goal(Surrogate(kl=0.1, kl_kind='k3_k2'))
  model = _model(DENSE)
  reference = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model)
  if adapted:
    model, reference = lora.add(model, jax.random.key(1), 2, 4.0, ('mlp.*',)), None
  trained, fixed = lora.split(model)
  update = learning.updater(
    learning.learner(DENSE, dtype=jnp.float32), OPTIMIZER, goal, fixed=fixed, reference=reference
  )
  micros = pieces.micro_batches(_rows(), MicroBatches(0, (TR,)), goal.surrogate)
  state, found = states.fresh(trained, OPTIMIZER), []
  for _ in range(3):
    state, out = update(state, micros)
    found.append(float(out['kl_reference']))
  assert found[0] == 0 if adapted else found[0] < 1e-5
  assert found[0] < found[1] < found[2]
  with pytest.raises(ValueError, match='needs the reference policy'):
    learning.updater(learning.learner(DENSE), OPTIMIZER, goal)(states.fresh(_model(DENSE), OPTIMIZER), micros)


@pytest.mark.slow
def test_replay_sends_tokens_to_the_experts_of_before_with_weights_of_now():
  policy, rows, goal = learning.learner(MIXED), _rows(), Goal(replay=True, balance=0.1)
  model = _model(MIXED)
  look = jax.jit(step.make_look(policy, goal))
  before = look(model, rows)
  moved = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(3), leaf.shape), model)
  respond = jax.jit(lambda m, c: policy.respond(m, rows, c))
  free, held, same = respond(moved, None), respond(moved, before.choices), respond(model, before.choices)
  np.testing.assert_array_equal(same.hidden, respond(model, None).hidden)
  for kept, now in zip(before.choices, held.choices):
    np.testing.assert_array_equal(kept, now)
  assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(before.choices, free.choices))
  assert (held.hidden != free.hidden).any() and (held.hidden != same.hidden).any()
  add = jax.jit(step.make_add(policy, goal))
  weights = rows.mask / rows.mask.sum()
  one = add(moved, step.empty(moved), rows, weights, None, None, before)
  two = add(moved, step.empty(moved), rows, weights, None, None, Before(before.logp))
  assert float(one.out['balance']) > 0 and float(one.out['ratio']) != float(two.out['ratio'])


@pytest.mark.slow
def test_bf16_computation_has_float32_gradients_near_the_exact_ones():
  jax.config.update('jax_disable_most_optimizations', False)  # without them XLA has no bf16 product on CPU
  rows, goal, model = _rows(), Goal(), _model(DENSE)
  grads = []
  for dtype in (None, jnp.bfloat16):
    add = jax.jit(step.make_add(learning.learner(DENSE, dtype=dtype, remat='full'), goal))
    grads.append(add(model, step.empty(model), rows, rows.mask / rows.mask.sum()).grads)
  leaves = list(zip(*map(jax.tree.leaves, grads)))
  assert all(b.dtype == jnp.float32 for _, b in leaves)
  error = sum(float(((a - b) ** 2).sum()) for a, b in leaves) / sum(float((a**2).sum()) for a, _ in leaves)
  assert 0 < error**0.5 < 0.03
