"""The clipped surrogate (PPO, arXiv 1707.06347 eq. 7; dual clip, arXiv 1912.09729 eq. 5). Minimised."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Clip(NamedTuple):
  """Bounds of the importance ratio ρ.

  Attributes:
    low: ρ ≥ 1 − low.
    high: ρ ≤ 1 + high (larger than `low` is clip-higher, DAPO).
    dual: for negative advantages the loss is at most −A·dual; 0 turns it off.
  """

  low: float = 0.2
  high: float = 0.2
  dual: float = 0.0


def surrogate(log_ratio: Array, advantage: Array, clip: Clip) -> tuple[Array, Array]:
  """Loss per token and whether clipping decided it.

  Args:
    log_ratio: [B, T].
    advantage: [B, 1] or [B, T].
    clip: bounds.

  Returns:
    loss [B, T] = max(−Aρ, −A·clip(ρ)), for A < 0 no more than −A·dual; clipped [B, T] bool.
  """
  ratio = jnp.exp(log_ratio)
  free = -advantage * ratio
  held = -advantage * jnp.clip(ratio, 1.0 - clip.low, 1.0 + clip.high)
  loss = jnp.maximum(free, held)
  clipped = held > free
  if clip.dual:
    cap = -advantage * clip.dual
    capped = (advantage < 0) & (loss > cap)
    loss = jnp.where(capped, cap, loss)
    clipped = clipped | capped
  return loss, clipped
