"""Truncated importance sampling against the distribution that the rollout really drew from.

Sampler and trainer compute the same log-probabilities with other kernels and shapes, in bf16 not quite the
same. With ℓ° the trainer's log-probability before the update and ℓʳ the sampler's, a token's loss is
multiplied by a truncated exp(ℓ° − ℓʳ), through which no gradient flows; KL and entropy are not.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.rl.ratios import difference

Kind = Literal['none', 'token', 'sequence', 'mask']


class Correction(NamedTuple):
  """Static choices.

  Attributes:
    kind: `none`; `token` (TIS) min(ρ_t, high); `sequence` min(Π_t ρ_t, high) in every place, unbiased but for
      the truncation; `mask` (IcePop) ρ_t within [low, high] and 0 outside.
    high: C, the truncation.
    low: of `mask`.
  """

  kind: Kind = 'none'
  high: float = 2.0
  low: float = 0.5


def weights(
  old: Array, sampled: Array, mask: Array, settings: Correction, *, bound: float = 20.0
) -> tuple[Array, Array]:
  """Factors of the loss and where they were truncated.

  Args:
    old: [B, T], ℓ°.
    sampled: [B, T], ℓʳ at the temperature and over the tokens that `old` has.
    mask: [B, T].
    settings: static choices.
    bound: log-ratios are clamped to ±`bound`.

  Returns:
    [B, T] without gradient, 1 where masked; [B, T] bool.

  Raises:
    ValueError: the kind's name is unknown.
  """
  live = mask > 0
  delta = jax.lax.stop_gradient(difference(old, sampled, mask))
  if settings.kind == 'none':
    return jnp.ones_like(delta), jnp.zeros_like(live)
  if settings.kind == 'sequence':
    delta = jnp.broadcast_to(delta.sum(-1, keepdims=True), delta.shape)
  elif settings.kind not in ('token', 'mask'):
    raise ValueError(f'Unknown correction {settings.kind!r}; known are none, token, sequence and mask.')
  ratio = jnp.exp(jnp.clip(delta, -bound, bound))
  beyond = ratio > settings.high
  if settings.kind == 'mask':
    beyond = beyond | (ratio < settings.low)
    factor = jnp.where(beyond, 0.0, ratio)
  else:
    factor = jnp.minimum(ratio, settings.high)
  return jnp.where(live, factor, 1.0), beyond & live
