"""What is not finite, and what was never scored, does not reach the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llmi_jax import update
from llmi_jax.update import Optimizer, Sums

OPTIMIZER = Optimizer(1e-2, 2, 10)


def _state():
  return update.init({'matrix': jnp.ones((3, 2)), 'norm': jnp.ones((4,))}, OPTIMIZER)


def _sums(value):
  grads = {'matrix': jnp.full((3, 2), value), 'norm': jnp.full((4,), 0.5)}
  return Sums(grads, {name: jnp.zeros(()) for name in update.OUT})


@pytest.mark.parametrize(('value', 'live'), [(jnp.nan, 5.0), (jnp.inf, 5.0), (0.5, 0.0)])
def test_unusable_steps_change_no_parameter_and_no_moment_and_are_counted(value, live):
  state = _state()
  after, out = update.finish(state, _sums(value), OPTIMIZER, jnp.asarray(live))
  for a, b in zip(jax.tree.leaves(after[:2]), jax.tree.leaves(state[:2])):
    np.testing.assert_array_equal(a, b)
  assert (int(after.step), int(after.skipped), float(out['skipped'])) == (1, 1, 1.0)


def test_a_step_equals_adamw_by_hand_with_decay_on_matrices_only():
  state = update.finish(_state(), _sums(0.5), OPTIMIZER, jnp.asarray(1.0))[0]  # warm-up: rate 0
  after, out = update.finish(state, _sums(0.5), OPTIMIZER, jnp.asarray(1.0))
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
