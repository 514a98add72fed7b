"""Responses that near or reach the longest allowed length (DAPO, arXiv 2503.14476 eq. 13)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


class Overlong(NamedTuple):
  """Static choices.

  Attributes:
    buffer: the last so many tokens before the limit cost something; 0 turns the penalty off.
    factor: what a response of the full length loses.
    mask: whether a response that was cut off at the limit is left out of the loss; its reward still stands in
      its group's statistics.
  """

  buffer: int = 0
  factor: float = 1.0
  mask: bool = False


def penalty(length: ArrayLike, limit: int, settings: Overlong) -> Array:
  """What is added to rewards: min(0, (limit − buffer − length)/buffer·factor), no lower than −factor.

  Args:
    length: of responses, in tokens; any shape.
    limit: the longest allowed.
    settings: static choices.

  Returns:
    float32 of the same shape, ≤ 0.
  """
  length = jnp.asarray(length).astype(jnp.float32)
  if not settings.buffer:
    return jnp.zeros_like(length)
  beyond = (limit - settings.buffer - length) / settings.buffer
  return settings.factor * jnp.clip(beyond, -1.0, 0.0)
