"""Rotary position embedding (Su et al., arXiv 2104.09864), half-split form as Qwen uses it."""

import jax.numpy as jnp
from jax import Array


def angles(positions: Array, head_dim: int, theta: float) -> tuple[Array, Array]:
  """Cosine and sine per position, in float32: bf16 cannot tell positions beyond 256 apart.

  Args:
    positions: [B, T] int32.
    head_dim: H.
    theta: the base.

  Returns:
    Two [B, 1, T, H/2] float32 arrays; the axis of length 1 broadcasts over heads.
  """
  frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
  angle = positions.astype(jnp.float32)[:, None, :, None] * frequency[None, None, None]
  return jnp.cos(angle), jnp.sin(angle)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
  """Rotates x [B, heads, T, H] by its positions; computed in float32, returned in x's dtype."""
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.astype(x.dtype)
