"""A decoder of the Qwen3 kind: RMS norm, grouped-query attention with normed queries and keys, SwiGLU.

Layers are stacked: every parameter of `Decoder.blocks` carries a leading axis L and `lax.scan` runs over
it. `decode_view` unstacks them for generation, where a scan would copy weights and cache at every token.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from llmi_jax.models import cache as caches
from llmi_jax.models import rope
from llmi_jax.models.attention import Part, attend
from llmi_jax.models.cache import KV, Cache, Prefix, Suffix
from llmi_jax.models.config import DecoderConfig

INIT_SCALE = 0.02


def _normal(key: Array, *shape: int) -> nnx.Param:
  return nnx.Param(jax.random.normal(key, shape) * INIT_SCALE)


def rms_norm(x: Array, scale: Array, eps: float) -> Array:
  """x / rms(x) · scale, in float32, returned in x's dtype."""
  wide = x.astype(jnp.float32)
  normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + eps)
  return normed.astype(x.dtype) * jnp.expand_dims(scale, range(x.ndim - 1))


class Attention(nnx.Module):
  """Projections and head norms of one layer."""

  def __init__(self, config: DecoderConfig, key: Array):
    keys = jax.random.split(key, 4)
    queries, keys_values = config.heads * config.head_dim, config.kv_heads * config.head_dim
    self.q = _normal(keys[0], config.width, queries)
    self.k = _normal(keys[1], config.width, keys_values)
    self.v = _normal(keys[2], config.width, keys_values)
    self.o = _normal(keys[3], queries, config.width)
    if config.qk_norm:
      self.q_norm = nnx.Param(jnp.ones(config.head_dim))
      self.k_norm = nnx.Param(jnp.ones(config.head_dim))


class Mlp(nnx.Module):
  """SwiGLU."""

  def __init__(self, config: DecoderConfig, key: Array):
    keys = jax.random.split(key, 3)
    self.gate = _normal(keys[0], config.width, config.ff)
    self.up = _normal(keys[1], config.width, config.ff)
    self.down = _normal(keys[2], config.ff, config.width)

  def __call__(self, x: Array) -> Array:
    return (jax.nn.silu(x @ self.gate[...]) * (x @ self.up[...])) @ self.down[...]


class Block(nnx.Module):
  """One layer."""

  def __init__(self, config: DecoderConfig, key: Array):
    first, second = jax.random.split(key)
    self.attention_norm = nnx.Param(jnp.ones(config.width))
    self.attention = Attention(config, first)
    self.mlp_norm = nnx.Param(jnp.ones(config.width))
    self.mlp = Mlp(config, second)


class Decoder(nnx.Module):
  """Parameters of a whole decoder.

  Attributes:
    embedding: [V, D].
    blocks: a `Block` whose parameters are stacked over L, or a tuple of L blocks (see `decode_view`).
    norm: [D].
    head: [D, V], absent where the embedding is tied.
  """

  def __init__(self, config: DecoderConfig, key: Array):
    first, second, third = jax.random.split(key, 3)
    self.embedding = _normal(first, config.vocab, config.width)
    stacked = jax.vmap(lambda k: Block(config, k))(jax.random.split(second, config.layers))
    self.blocks: Any = nnx.data(stacked)
    self.norm = nnx.Param(jnp.ones(config.width))
    if not config.tied:
      self.head = _normal(third, config.width, config.vocab)


def _project(x: Array, weight: Array, heads: int) -> Array:
  """[B, T, D] → [B, heads, T, H]."""
  b, t, _ = x.shape
  return (x @ weight).reshape(b, t, heads, -1).transpose(0, 2, 1, 3)


def _qkv(block: Block, x: Array, angles: tuple[Array, Array], config: DecoderConfig):
  """Rotated queries and keys, and values, of a normed input."""
  layer = block.attention
  q = _project(x, layer.q[...], config.heads)
  k = _project(x, layer.k[...], config.kv_heads)
  v = _project(x, layer.v[...], config.kv_heads)
  if config.qk_norm:
    q = rms_norm(q, layer.q_norm[...], config.norm_eps)
    k = rms_norm(k, layer.k_norm[...], config.norm_eps)
  return rope.rotate(q, *angles), rope.rotate(k, *angles), v


def _block(block: Block, x: Array, angles, config: DecoderConfig, read):
  """One layer; `read(q, k, v) -> (attended, kept)` decides what is attended to and what is kept."""
  normed = rms_norm(x, block.attention_norm[...], config.norm_eps)
  attended, kept = read(*_qkv(block, normed, angles, config))
  b, n, t, h = attended.shape
  x = x + attended.transpose(0, 2, 1, 3).reshape(b, t, n * h) @ block.attention.o[...]
  return x + block.mlp(rms_norm(x, block.mlp_norm[...], config.norm_eps)), kept


def forward(
  model: Decoder,
  tokens: Array,
  positions: Array,
  lengths: Array,
  cache: Cache | None = None,
  *,
  config: DecoderConfig,
  unroll: int | bool = 1,
  remat: bool = False,
) -> tuple[Array, Any, dict[str, Array]]:
  """Runs the decoder.

  Without a cache, every row attends causally to itself. With a prefix, rows also attend to all of their
  group's prefix. With a suffix as well (T = 1), the row's new token is stored and reads what is stored.

  Args:
    model: parameters.
    tokens: [B, T] int32, right-padded.
    positions: [B, T] int32.
    lengths: [B] int32, live tokens per row; ignored when decoding.
    cache: None, a prefix, or a prefix and a suffix.
    config: static numbers.
    unroll: layers per scan iteration (True: all); more is faster to run and slower to compile.
    remat: whether the backward pass recomputes each layer instead of keeping its activations.

  Returns:
    hidden [B, T, D] after the final norm; the new `Suffix` when decoding, else the `KV` of these tokens
    (stacked or a tuple over layers, as the blocks are; dropped by the compiler where unused); an empty
    dict for diagnostics.
  """
  x = model.embedding[...][tokens]
  angles = rope.angles(positions, config.head_dim, config.rope_theta)
  if cache is not None and cache.suffix is not None:
    x, kept = _decode(model, x, angles, cache.prefix, cache.suffix, config)
  else:
    prefix = cache.prefix if cache is not None else None
    x, kept = _attend(model.blocks, x, angles, lengths, prefix, config, unroll, remat)
  return rms_norm(x, model.norm[...], config.norm_eps), kept, {}


def _attend(blocks, x, angles, lengths, prefix: Prefix | None, config, unroll, remat):
  t = x.shape[1]
  causal = jnp.tril(jnp.ones((t, t), bool))[None, None]
  own = causal & (jnp.arange(t)[None] < lengths[:, None])[:, None, None]

  def layer(x, inputs):
    block, shared = inputs

    def read(q, k, v):
      parts = [Part(k, v, own)]
      if prefix is not None:
        parts.insert(0, Part(shared.k, shared.v, _prefix_mask(prefix, shared.k.shape[2])))
      return attend(q, parts), KV(k, v)

    return _block(block, x, angles, config, read)

  shared = prefix.kv if prefix is not None else None
  if isinstance(blocks, tuple):
    kept = []
    for pair in zip(blocks, shared or [None] * len(blocks)):
      x, kv = layer(x, pair)
      kept.append(kv)
    return x, tuple(kept)
  if remat:
    layer = jax.checkpoint(layer, prevent_cse=False)
  return jax.lax.scan(layer, x, (blocks, shared), unroll=unroll)


def _prefix_mask(prefix: Prefix, slots: int) -> Array:
  """[P, 1, 1, S]."""
  return (jnp.arange(slots)[None] < prefix.length[:, None])[:, None, None]


def _decode(model, x, angles, prefix: Prefix, suffix: Suffix, config):
  slots = suffix.kv[0].k.shape[2]
  readable = caches.live(suffix.clock, suffix.age, slots)[:, None, None, :]
  kept = []
  for block, shared, own in zip(model.blocks, prefix.kv, suffix.kv):

    def read(q, k, v, shared=shared, own=own):
      own = caches.write(own, k, v, suffix.clock)
      before = Part(shared.k, shared.v, _prefix_mask(prefix, shared.k.shape[2]))
      return attend(q, [before, Part(own.k, own.v, readable)]), own

    x, own = _block(block, x, angles, config, read)
    kept.append(own)
  return x, Suffix(tuple(kept), suffix.clock + 1, suffix.age + 1)


def unembed(model: Decoder, hidden: Array) -> Array:
  """[…, D] → [..., V] float32 logits."""
  tied = not hasattr(model, 'head')
  weight = model.embedding[...].T if tied else model.head[...]
  return jnp.matmul(hidden, weight.astype(hidden.dtype), preferred_element_type=jnp.float32)


def decode_view(model: Decoder, dtype: Any = None) -> Decoder:
  """The same parameters for generation: layers unstacked into a tuple, cast to `dtype`."""

  def cast(leaf):
    return leaf.astype(dtype) if dtype is not None else leaf

  graph, state = nnx.split(model)
  view = nnx.merge(graph, jax.tree.map(cast, state))
  layers = jax.tree.leaves(view.blocks)[0].shape[0]
  view.blocks = nnx.data(tuple(jax.tree.map(lambda leaf, i=i: leaf[i], view.blocks) for i in range(layers)))
  return view
