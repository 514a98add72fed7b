"""Log importance ratios: the one function in which GRPO and GSPO differ."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Kind = Literal['token', 'sequence', 'sequence_token']
LEAST = -1e30  # below it a log-probability is as good as −∞, and differences of two such are no numbers


def difference(first: Array, second: Array, mask: Array) -> Array:
  """first − second at live places and 0 elsewhere; what is −∞ in both is no difference."""
  live = mask > 0
  first, second = (jnp.maximum(jnp.where(live, x, 0.0), LEAST) for x in (first, second))
  return first - second


def log_ratios(logp: Array, old: Array, mask: Array, kind: Kind = 'token', *, bound: float = 20.0) -> Array:
  """Log importance ratio per token, clamped to ±`bound` so that its exponential stays finite.

  Args:
    logp: [B, T] under the policy being trained.
    old: [B, T] under the policy that the surrogate is taken around; no gradient flows through it.
    mask: [B, T], 1 on sampled tokens.
    kind: `token` is GRPO/PPO, δ_t = ℓ_t − ℓ°_t; `sequence` is GSPO (arXiv 2507.18071 eq. 7), the masked
      mean of δ in every place; `sequence_token` is GSPO-token (eq. 14), equal in value, with the gradient
      of token t alone.

  Returns:
    [B, T] float32, 0 where masked.

  Raises:
    ValueError: the kind's name is unknown.
  """
  live = mask > 0
  delta = difference(logp, jax.lax.stop_gradient(old), mask)
  if kind == 'token':
    return jnp.clip(delta, -bound, bound)
  count = live.sum(-1, keepdims=True).astype(delta.dtype)
  mean = delta.sum(-1, keepdims=True) / jnp.maximum(count, 1.0)
  mean = jnp.clip(mean, -bound, bound)
  if kind == 'sequence':
    return jnp.where(live, mean, 0.0)
  if kind == 'sequence_token':
    token = jnp.where(live, logp, 0.0)
    return jnp.where(live, token - jax.lax.stop_gradient(token) + jax.lax.stop_gradient(mean), 0.0)
  raise ValueError(f'Unknown ratio {kind!r}; known are token, sequence and sequence_token.')
