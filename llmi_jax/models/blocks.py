"""The parts of a layer: RMS norm, grouped-query attention, SwiGLU or a mixture of experts."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from llmi_jax.models import grouped, moe, rope
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.linear import Linear, wide
from llmi_jax.models.sharding import Layout, constrain


def rms_norm(x: Array, scale: Array, eps: float) -> Array:
  """x / rms(x) · scale, in float32 or wider, returned in x's dtype."""
  exact = x.astype(wide(x.dtype))
  normed = exact * jax.lax.rsqrt(jnp.mean(exact * exact, -1, keepdims=True) + eps)
  return normed.astype(x.dtype) * jnp.expand_dims(scale, range(x.ndim - 1))


class Attention(nnx.Module):
  """Projections and head norms of one layer."""

  def __init__(self, config: DecoderConfig, key: Array):
    keys = jax.random.split(key, 4)
    queries, keys_values = config.heads * config.head_dim, config.kv_heads * config.head_dim
    self.q = Linear(keys[0], config.width, queries, bias=config.qkv_bias)
    self.k = Linear(keys[1], config.width, keys_values, bias=config.qkv_bias)
    self.v = Linear(keys[2], config.width, keys_values, bias=config.qkv_bias)
    self.o = Linear(keys[3], queries, config.width, bias=config.o_bias)
    if config.qk_norm:
      self.q_norm = nnx.Param(jnp.ones(config.head_dim))
      self.k_norm = nnx.Param(jnp.ones(config.head_dim))


class Mlp(nnx.Module):
  """SwiGLU."""

  def __init__(self, config: DecoderConfig, key: Array):
    keys = jax.random.split(key, 3)
    self.gate = Linear(keys[0], config.width, config.ff)
    self.up = Linear(keys[1], config.width, config.ff)
    self.down = Linear(keys[2], config.ff, config.width)

  def __call__(self, x: Array) -> Array:
    return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
  """One layer; its feed-forward part is `mlp` or, in a sparse layer, `moe`."""

  def __init__(self, config: DecoderConfig, key: Array, sparse: bool = False):
    first, second = jax.random.split(key)
    self.attention_norm = nnx.Param(jnp.ones(config.width))
    self.attention = Attention(config, first)
    self.mlp_norm = nnx.Param(jnp.ones(config.width))
    if sparse:
      self.moe = moe.Moe(config, second)
    else:
      self.mlp = Mlp(config, second)


def qkv(
  block: Block, x: Array, angles: tuple[Array, Array], config: DecoderConfig, layout: Layout | None
) -> tuple[Array, Array, Array]:
  """Rotated queries [B, N, T, H] and keys, and values [B, K, T, H], of a layer's input [B, T, D]."""
  layer = block.attention
  x = rms_norm(x, block.attention_norm[...], config.norm_eps)

  def project(linear: Linear, heads: int, axis: str) -> Array:
    b, t, _ = x.shape
    made = linear(x).reshape(b, t, heads, -1).transpose(0, 2, 1, 3)
    return constrain(made, layout, 'batch', axis, None, None)

  q, k = project(layer.q, config.heads, 'heads'), project(layer.k, config.kv_heads, 'kv_heads')
  if config.qk_norm:
    q = rms_norm(q, layer.q_norm[...], config.norm_eps)
    k = rms_norm(k, layer.k_norm[...], config.norm_eps)
  return rope.rotate(q, *angles), rope.rotate(k, *angles), project(layer.v, config.kv_heads, 'kv_heads')


def output(block: Block, x: Array, attended: Array) -> Array:
  """x plus the projection of what was attended to, [B, N, T, H]."""
  b, n, t, h = attended.shape
  return x + block.attention.o(attended.transpose(0, 2, 1, 3).reshape(b, t, n * h))


def feed_forward(
  block: Block,
  x: Array,
  live: Array,
  config: DecoderConfig,
  experts: grouped.Kind,
  layout: Layout | None,
  choice: Array | None = None,
) -> tuple[Array, moe.Routing | None]:
  """x plus its feed-forward part, and what a router did.

  Args:
    block: parameters.
    x: [B, T, D].
    live: [B, T] bool; padding is not routed.
    config: static numbers.
    experts: how experts are multiplied.
    layout: mesh and rules.
    choice: see `moe.mixture`.
  """
  normed = rms_norm(x, block.mlp_norm[...], config.norm_eps)
  if not hasattr(block, 'moe'):
    return x + block.mlp(normed), None
  assert config.experts is not None
  mixed, routing = moe.mixture(block.moe, normed, live, config.experts, experts, layout, choice)
  return x + mixed, routing
