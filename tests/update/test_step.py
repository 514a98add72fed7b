"""What is not finite, and what was never scored, does not reach the parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.sharding import leaf_name
from llmi_jax.update import optimizer, step
from llmi_jax.update import state as states
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.step import Sums

OPTIMIZER = Optimizer(1e-2, 2, 10)


def _state():
  return states.fresh({'matrix': jnp.ones((3, 2)), 'norm': jnp.ones((4,))}, OPTIMIZER)


def _sums(value, live=1.0):
  grads = {'matrix': jnp.full((3, 2), value), 'norm': jnp.full((4,), 0.5)}
  return Sums(grads, {name: jnp.zeros(()) for name in step.OUT} | {'tokens': jnp.asarray(live)})


@pytest.mark.parametrize(('value', 'live'), [(jnp.nan, 5.0), (jnp.inf, 5.0), (0.5, 0.0)])
def test_unusable_steps_change_no_parameter_and_no_moment_and_are_counted(value, live):
  state = _state()
  after, out = step.finish(state, _sums(value, live), OPTIMIZER)
  for a, b in zip(jax.tree.leaves(after[:2]), jax.tree.leaves(state[:2])):
    np.testing.assert_array_equal(a, b)
  assert (int(after.step), int(after.skipped), float(out['skipped'])) == (1, 1, 1.0)


def test_a_step_equals_adamw_by_hand_with_decay_on_matrices_only():
  state = step.finish(_state(), _sums(0.5), OPTIMIZER)[0]  # warm-up: rate 0
  after, out = step.finish(state, _sums(0.5), OPTIMIZER)
  norm = np.sqrt(10 * 0.25)
  grad, rate = 0.5 / norm, 5e-3
  np.testing.assert_allclose(out['grad_norm'], norm, rtol=1e-6)
  moment = 0.1 * grad * (0.9 + 1) / (1 - 0.9**2)
  second = 0.001 * grad**2 * (0.999 + 1) / (1 - 0.999**2)
  move = moment / (np.sqrt(second) + 1e-8)
  np.testing.assert_allclose(after.params['norm'], 1 - rate * move, rtol=1e-6)
  np.testing.assert_allclose(after.params['matrix'], 1 - rate * (move + 0.1), rtol=1e-6)


def test_schedule_warms_up_and_ends_at_its_share():
  schedule = OPTIMIZER.schedule()
  assert float(schedule(0)) == 0 and float(schedule(2)) == pytest.approx(1e-2)
  assert float(schedule(10)) == pytest.approx(1e-4)
  assert isinstance(OPTIMIZER.build(), optax.GradientTransformation)


def test_stacked_norms_and_biases_do_not_decay_and_adapters_do():
  shape = DecoderConfig('Qwen3ForCausalLM', 32, 16, 24, 3, 2, 1, 8, qkv_bias=True)
  model = jax.eval_shape(
    lambda: lora.add(Decoder(shape, jax.random.key(0)), jax.random.key(1), 2, 4.0, ('mlp.up',))
  )
  found = {
    leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(optimizer.decayed(model))
  }
  wanted = {
    name: not name.endswith('norm') and not (name.endswith('.b') and 'lora' not in name) for name in found
  }
  assert found == wanted and sum(found.values()) == 10 and len(found) == 18


def test_the_first_moment_alone_can_be_bf16():
  lean = dataclasses.replace(OPTIMIZER, moments='bfloat16_first')
  params = {'matrix': jnp.ones((3, 2)), 'norm': jnp.ones((4,))}
  state = states.fresh(params, lean)
  kinds = sorted(str(leaf.dtype) for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim)
  assert kinds == ['bfloat16', 'bfloat16', 'float32', 'float32']
  whole = states.fresh(params, OPTIMIZER)
  for _ in range(3):
    state, whole = step.finish(state, _sums(0.5), lean)[0], step.finish(whole, _sums(0.5), OPTIMIZER)[0]
  np.testing.assert_allclose(state.params['matrix'], whole.params['matrix'], rtol=1e-4)
  with pytest.raises(ConfigError, match=r"optimizer\.moments is 'int8'"):
    dataclasses.replace(OPTIMIZER, moments='int8')


def test_several_updates_of_a_step_are_summed_up():
  outs = [
    {'loss': jnp.asarray(x), 'logp_gap_max': jnp.asarray(x), 'tokens': jnp.asarray(x), 'skipped': s}
    for x, s in ((1.0, jnp.asarray(1.0)), (3.0, jnp.asarray(0.0)))
  ]
  found = {name: float(value) for name, value in step.summary(outs).items()}
  assert found == {'loss': 2.0, 'logp_gap_max': 3.0, 'tokens': 4.0, 'skipped': 0.0}
  state = step.finish(_state(), _sums(0.5), OPTIMIZER, last=False)[0]
  assert int(state.step) == 0 and int(step.finish(state, _sums(0.5), OPTIMIZER)[0].step) == 1
