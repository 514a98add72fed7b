"""What training changes, and the move from one state to the next."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from llmi_jax.update.optimizer import Optimizer


class TrainState(NamedTuple):
  """What training changes.

  Attributes:
    params: of the policy, float32; what is trained alone (`models.lora.split`).
    optimizer: Optax state.
    step: scalar int32, rollouts that were learned from so far.
    skipped: scalar int32, updates left out because they were not finite or nothing was scorable.
  """

  params: Any
  optimizer: Any
  step: Array
  skipped: Array


def fresh(params: Any, optimizer: Optimizer) -> TrainState:
  """A state before the first step."""
  with jax.numpy_dtype_promotion('standard'):
    moments = optimizer.build().init(params)
  return TrainState(params, moments, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def placed(state: TrainState, params: Any, scalar: Any, optimizer: Optimizer) -> TrainState:
  """Where each leaf of a state belongs: moments lie as their parameters do.

  Args:
    state: a state, or its shapes.
    params: the parameters' shardings.
    scalar: the sharding of what is no array of a parameter's.
    optimizer: with which the state was made.
  """
  moments = optax.tree_utils.tree_map_params(
    optimizer.build().init, lambda _, own: own, state.optimizer, params, transform_non_params=lambda _: scalar
  )
  return TrainState(params, moments, scalar, scalar)


def apply(
  state: TrainState, grads: Any, optimizer: Optimizer, sound: Array, *, last: bool = True
) -> TrainState:
  """The state after one AdamW step; parameters and moments are as before where `sound` is false.

  Args:
    state: before.
    grads: like its parameters.
    optimizer: static choices.
    sound: scalar bool.
    last: whether this is a step's last update.
  """
  with jax.numpy_dtype_promotion('standard'):
    updates, moved = optimizer.build().update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)

  def choose(new, old):
    return jnp.where(sound, new, old)

  return TrainState(
    params=jax.tree.map(choose, params, state.params),
    optimizer=jax.tree.map(choose, moved, state.optimizer),
    step=state.step + (1 if last else 0),
    skipped=state.skipped + jnp.where(sound, 0, 1),
  )
