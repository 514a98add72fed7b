"""Rotary position embedding (Su et al., arXiv 2104.09864), half-split as in Qwen, and its stretchings."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from llmi_jax.models.config import Rope
from llmi_jax.models.linear import wide


def angles(positions: Array, head_dim: int, rope: Rope, lengths: Array | None = None) -> tuple[Array, Array]:
  """Cosine and sine per position, in float32: bf16 cannot tell positions beyond 256 apart.

  Args:
    positions: [B, T] int32, or [3, B, T] (time, height, width) for M-RoPE.
    head_dim: H.
    rope: static choices.
    lengths: [B] int32, what `dynamic` takes as a row's length; its last position + 1 if None.

  Returns:
    Two [B, 1, T, H/2] float32 arrays; the axis of length 1 broadcasts over heads.
  """
  if positions.ndim == 2:
    positions = positions[None]
  frequency = jnp.asarray(_frequencies(head_dim, rope))[None]  # [B or 1, H/2]
  if rope.kind == 'dynamic':
    longest = positions.max((0, 2)) + 1 if lengths is None else lengths
    frequency = _dynamic(longest, head_dim, rope)
  # Each frequency follows one of the axes of a position.
  axis = np.repeat(np.arange(len(rope.sections)), rope.sections) % 3 if rope.sections else None
  places = positions.astype(jnp.float32)
  if axis is None or positions.shape[0] == 1:
    angle = places[0][:, :, None] * frequency[:, None]
  else:
    angle = jnp.moveaxis(places[axis], 0, -1) * frequency[:, None]
  angle = angle[:, None]
  return jnp.cos(angle) * rope.attention_factor, jnp.sin(angle) * rope.attention_factor


def rotate(x: Array, cos: Array, sin: Array) -> Array:
  """Rotates x [B, heads, T, H] by its positions; computed in float32 or wider, returned in x's dtype."""
  first, second = jnp.split(x.astype(wide(x.dtype)), 2, axis=-1)
  cos, sin = cos.astype(first.dtype), sin.astype(first.dtype)
  turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.astype(x.dtype)


def _frequencies(head_dim: int, rope: Rope) -> np.ndarray:
  """[H/2] float32, of rows within the original length."""
  plain = rope.theta ** -(np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)
  if rope.kind == 'linear':
    return (plain / rope.factor).astype(np.float32)
  if rope.kind == 'yarn':
    kept = _kept(head_dim, rope)
    return (plain * kept + plain / rope.factor * (1 - kept)).astype(np.float32)
  return plain.astype(np.float32)


def _kept(head_dim: int, rope: Rope) -> np.ndarray:
  """[H/2] in [0, 1]: how far YaRN leaves each frequency as it is."""

  def index(rotations: float) -> float:
    """The frequency, as a real index, that turns so often within the original length."""
    return head_dim * math.log(rope.original / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))

  low, high = index(rope.beta_fast), index(rope.beta_slow)
  if rope.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, head_dim - 1)
  ramp = (np.arange(head_dim // 2) - low) / (high - low or 0.001)
  return 1 - np.clip(ramp, 0, 1)


def _dynamic(lengths: Array, head_dim: int, rope: Rope) -> Array:
  """[B, H/2] float32: each row's base grows with its own length once that exceeds the original one."""
  length = jnp.maximum(lengths, rope.original).astype(jnp.float32)
  growth = rope.factor * length / rope.original - (rope.factor - 1)
  base = rope.theta * growth ** (head_dim / (head_dim - 2))
  exponent = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
  return base[:, None] ** -exponent[None]


def yarn_attention_factor(factor: float, mscale: float = 0.0, mscale_all_dim: float = 0.0) -> float:
  """How YaRN sharpens attention where a config does not say: 0.1·ln(factor) + 1, or a ratio of two such."""

  def scale(weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

  return scale(mscale) / scale(mscale_all_dim) if mscale and mscale_all_dim else scale(1.0)
