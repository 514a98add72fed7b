"""What bounds the step that a sample may ask for. Losses per token, minimised.

surrogate  the clipped surrogate (PPO, arXiv 1707.06347 eq. 7; dual clip, arXiv 1912.09729 eq. 5)
cispo      the importance weight is clipped and every token keeps a gradient (arXiv 2506.13585 eq. 4)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Clip(NamedTuple):
  """Bounds of the importance ratio ρ.

  Attributes:
    low: ρ ≥ 1 − low; from 1 on there is no lower bound.
    high: ρ ≤ 1 + high (larger than `low` is clip-higher, DAPO).
    dual: for negative advantages the loss is at most −A·dual; 0 turns it off.
  """

  low: float = 0.2
  high: float = 0.2
  dual: float = 0.0


class Clipped(NamedTuple):
  """Where a bound decided the loss; bool, [B, T] each.

  Attributes:
    low: the lower bound.
    high: the upper bound.
    dual: the dual one.
  """

  low: Array
  high: Array
  dual: Array


def surrogate(log_ratio: Array, advantage: Array, clip: Clip) -> tuple[Array, Clipped]:
  """Loss per token and whether clipping decided it.

  Args:
    log_ratio: [B, T].
    advantage: [B, 1] or [B, T].
    clip: bounds.

  Returns:
    loss [B, T] = max(−Aρ, −A·clip(ρ)), for A < 0 no more than −A·dual; where it was clipped.
  """
  ratio = jnp.exp(log_ratio)
  free = -advantage * ratio
  held = -advantage * jnp.clip(ratio, 1.0 - clip.low, 1.0 + clip.high)
  loss, decided = jnp.maximum(free, held), held > free
  capped = jnp.zeros_like(decided)
  if clip.dual:
    cap = -advantage * clip.dual
    capped = (advantage < 0) & (loss > cap)
    loss = jnp.where(capped, cap, loss)
  return loss, Clipped(decided & (advantage < 0), decided & (advantage > 0), capped)


def cispo(log_ratio: Array, logp: Array, advantage: Array, clip: Clip) -> tuple[Array, Clipped]:
  """CISPO's loss −sg(clip(ρ))·A·ℓ and where its weight was clipped; `clip.dual` has no meaning here.

  Its value is no surrogate's; its gradient −clip(ρ)·A·∇ℓ is what counts.

  Args:
    log_ratio: [B, T].
    logp: [B, T], finite everywhere.
    advantage: [B, 1] or [B, T].
    clip: bounds.
  """
  ratio = jax.lax.stop_gradient(jnp.exp(log_ratio))
  low, high = ratio < 1.0 - clip.low, ratio > 1.0 + clip.high
  held = jnp.clip(ratio, 1.0 - clip.low, 1.0 + clip.high)
  return -held * advantage * logp, Clipped(low, high, jnp.zeros_like(low))
