"""The painter's network: a transformer over picture patches and caption tokens that predicts the clean
picture.

Scale and shift of every layer come from the time and the caption (adaLN, shared projection with a table per
layer as in PixArt-α, arXiv 2310.00426); the output is the picture itself, not noise or velocity, which large
patches need (JiT, arXiv 2511.13720).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from llmi_jax.painter import words


@dataclasses.dataclass(frozen=True)
class Shape:
  """Sizes of the network.

  Attributes:
    vocabulary: number of token ids, `words.NOTHING` included.
    side: pixels of a picture's side.
    patch: pixels of a patch's side.
    width: of the residual stream.
    layers: transformer layers.
    heads: of attention.
  """

  vocabulary: int
  side: int = 64
  patch: int = 16
  width: int = 128
  layers: int = 6
  heads: int = 4

  @property
  def patches(self) -> int:
    return (self.side // self.patch) ** 2

  @property
  def values(self) -> int:
    """Numbers in one patch."""
    return self.patch * self.patch * 3


def _matrix(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> nnx.Param:
  return nnx.Param(jax.random.normal(key, (inputs, outputs)) * scale * inputs**-0.5)


class Block(nnx.Module):
  """One layer."""

  def __init__(self, shape: Shape, key: Array):
    keys = jax.random.split(key, 4)
    d = shape.width
    self.qkv = _matrix(keys[0], d, 3 * d)
    self.out = _matrix(keys[1], d, d, 0.2)
    self.up = _matrix(keys[2], d, 4 * d)
    self.down = _matrix(keys[3], 4 * d, d, 0.2)
    self.modulation = nnx.Param(jnp.zeros(6 * d))


class Painter(nnx.Module):
  """Parameters; used as an immutable pytree. `blocks` are stacked over layers."""

  def __init__(self, shape: Shape, key: Array):
    keys = jax.random.split(key, 9)
    d = shape.width
    self.enter = _matrix(keys[0], shape.values, d)
    self.places = nnx.Param(jax.random.normal(keys[1], (shape.patches, d)))
    self.words = nnx.Param(jax.random.normal(keys[2], (shape.vocabulary, d)))
    self.order = nnx.Param(jax.random.normal(keys[3], (words.LENGTH, d)) * 0.5)
    self.time_in = _matrix(keys[4], _WAVES * 2, d)
    self.time_out = _matrix(keys[5], d, d)
    self.modulation = _matrix(keys[6], d, 6 * d, 0.1)
    stacked = jax.vmap(lambda k: Block(shape, k))(jax.random.split(keys[7], shape.layers))
    self.blocks: Any = nnx.data(stacked)
    # More pixels than the stream is wide: a patch is drawn by a layer of its own.
    self.sketch = _matrix(keys[8], d, 4 * d)
    self.leave = nnx.Param(jnp.zeros((4 * d, shape.values)))


_WAVES = 16


def predict(params: Painter, shape: Shape, noisy: Array, time: Array, caption: Array) -> Array:
  """The clean pictures that noisy ones seem to stem from.

  Args:
    params: the weights.
    shape: their sizes.
    noisy: [B, side, side, 3], `time · picture + (1 − time) · noise`.
    time: [B] in [0, 1]; 1 is the picture.
    caption: [B, words.LENGTH] int32.

  Returns:
    [B, side, side, 3], about −1 to 1.
  """
  batch = noisy.shape[0]
  known = (caption != words.NOTHING)[..., None]
  tokens = params.words[...][caption] + params.order[...][None]
  pooled = jnp.sum(jnp.where(known, params.words[...][caption], 0.0), 1)
  condition = _time(params, time) + 0.5 * pooled
  shared = jax.nn.silu(condition) @ params.modulation[...]
  x = _to_patches(noisy, shape) @ params.enter[...] + params.places[...][None]
  x = jnp.concatenate([tokens, x], 1)
  # Empty caption places are not attended to; patches always are.
  seen = jnp.concatenate([known[..., 0], jnp.ones((batch, shape.patches), bool)], 1)

  def layer(x: Array, block: Block) -> tuple[Array, None]:
    return _block(block, shape, x, shared, seen), None

  x, _ = jax.lax.scan(layer, x, params.blocks, unroll=shape.layers)
  sketched = jnp.square(jax.nn.relu(_norm(x[:, words.LENGTH :]) @ params.sketch[...]))
  return _from_patches(sketched @ params.leave[...], shape)


def _block(block: Block, shape: Shape, x: Array, shared: Array, seen: Array) -> Array:
  parts = jnp.split((shared + block.modulation[...][None])[:, None], 6, -1)
  shift, scale, gate, shift_up, scale_up, gate_up = parts
  x = x + (1 + gate) * _attend(block, shape, _norm(x) * (1 + scale) + shift, seen)
  up = (_norm(x) * (1 + scale_up) + shift_up) @ block.up[...]
  return x + (1 + gate_up) * (jnp.square(jax.nn.relu(up)) @ block.down[...])


def _attend(block: Block, shape: Shape, x: Array, seen: Array) -> Array:
  b, t, d = x.shape
  q, k, v = (
    part.reshape(b, t, shape.heads, -1).transpose(0, 2, 1, 3) for part in jnp.split(x @ block.qkv[...], 3, -1)
  )
  scores = _norm(q) @ _norm(k).swapaxes(-1, -2) * (d // shape.heads) ** -0.5
  weights = jax.nn.softmax(jnp.where(seen[:, None, None], scores * 2.0, -1e30), -1)
  return (weights @ v).transpose(0, 2, 1, 3).reshape(b, t, d) @ block.out[...]


def _norm(x: Array) -> Array:
  return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def _time(params: Painter, time: Array) -> Array:
  """[B] → [B, D]."""
  angles = time[:, None] * (2.0 ** (jnp.arange(_WAVES, dtype=time.dtype)[None] * 0.5))
  waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
  return jax.nn.silu(waves @ params.time_in[...]) @ params.time_out[...]


def _to_patches(pictures: Array, shape: Shape) -> Array:
  """[B, side, side, 3] → [B, patches, values]."""
  n, p = shape.side // shape.patch, shape.patch
  cut = pictures.reshape(-1, n, p, n, p, 3).transpose(0, 1, 3, 2, 4, 5)
  return cut.reshape(-1, n * n, shape.values)


def _from_patches(patches: Array, shape: Shape) -> Array:
  """[B, patches, values] → [B, side, side, 3]."""
  n, p = shape.side // shape.patch, shape.patch
  cut = patches.reshape(-1, n, n, p, p, 3).transpose(0, 1, 3, 2, 4, 5)
  return cut.reshape(-1, shape.side, shape.side, 3)
