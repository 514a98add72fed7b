"""The vision tower of Qwen2.5-VL (arXiv 2502.13923): patches of still pictures → features of image tokens.

A transformer over patches with two-dimensional rotary positions. Most layers attend within windows, a few
over the whole picture; at the end every merge×merge unit becomes one feature. Pictures come laid out in
static slots (`vision_layout`), so one compiled program serves every picture of a bucket.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import rope
from llmi_jax.models.attention import MASKED
from llmi_jax.models.blocks import rms_norm
from llmi_jax.models.config import VisionConfig
from llmi_jax.models.linear import Linear
from llmi_jax.models.vision_layout import Pictures

# Leaf path inside `VisionTower.blocks` → (name inside `visual.blocks.N.`, whether it is stored transposed).
LAYER = {
  'attention_norm': ('norm1.weight', False),
  'attention.qkv.w': ('attn.qkv.weight', True),
  'attention.qkv.b': ('attn.qkv.bias', False),
  'attention.o.w': ('attn.proj.weight', True),
  'attention.o.b': ('attn.proj.bias', False),
  'mlp_norm': ('norm2.weight', False),
  'mlp.gate.w': ('mlp.gate_proj.weight', True),
  'mlp.gate.b': ('mlp.gate_proj.bias', False),
  'mlp.up.w': ('mlp.up_proj.weight', True),
  'mlp.up.b': ('mlp.up_proj.bias', False),
  'mlp.down.w': ('mlp.down_proj.weight', True),
  'mlp.down.b': ('mlp.down_proj.bias', False),
}
# Leaf path in `VisionTower` → (name inside `visual.`, transposed). The file holds the patch embedding as the
# kernel of a convolution, [D, channels, frames, patch, patch]: that flattened to [D, d] is our transpose.
PATCH = 'patch.w'
TOP = {
  PATCH: ('patch_embed.proj.weight', True),
  'merger_norm': ('merger.ln_q.weight', False),
  'merger_up.w': ('merger.mlp.0.weight', True),
  'merger_up.b': ('merger.mlp.0.bias', False),
  'merger_down.w': ('merger.mlp.2.weight', True),
  'merger_down.b': ('merger.mlp.2.bias', False),
}
# Logits of one head and picture that exist at a time when queries read a whole picture.
LOGITS = 1 << 22


def from_hf(fields: Mapping[str, Any]) -> VisionConfig:
  """Reads the `vision_config` of a Hugging Face `config.json`.

  Raises:
    ConfigError: a field is missing or its value is not supported.
  """
  if (act := fields.get('hidden_act', 'silu')) != 'silu':
    raise ConfigError(f'The vision config asks for hidden_act={act!r}; supported is silu.')
  rotary = fields.get('rope_parameters') or {}
  if (kind := rotary.get('rope_type', 'axial')) not in ('axial', 'default'):
    raise ConfigError(f'The vision config asks for {kind!r} rotary scaling; supported is axial.')
  patch, merge = fields.get('patch_size', 14), fields.get('spatial_merge_size', 2)
  try:
    return VisionConfig(
      layers=fields['depth'],
      width=fields['hidden_size'],
      ff=fields.get('intermediate_size', 3420),
      heads=fields['num_heads'],
      out=fields['out_hidden_size'],
      patch=patch,
      merge=merge,
      window=fields.get('window_size', 112) // merge // patch * merge,
      full=tuple(sorted(set(fields.get('fullatt_block_indexes', (7, 15, 23, 31))))),
      frames=fields.get('temporal_patch_size', 2),
      channels=fields.get('in_channels', 3),
      rope_theta=float(rotary.get('rope_theta', 10_000.0)),
    )
  except KeyError as error:
    raise ConfigError(
      f'The vision config has no {error.args[0]!r}; is it the vision_config of a Qwen2.5-VL config.json?'
    ) from None


def to_hf(config: VisionConfig) -> dict[str, Any]:
  """The `vision_config` that `from_hf` reads."""
  return {
    'model_type': 'qwen2_5_vl_vision',
    'depth': config.layers,
    'hidden_size': config.width,
    'intermediate_size': config.ff,
    'num_heads': config.heads,
    'out_hidden_size': config.out,
    'hidden_act': 'silu',
    'patch_size': config.patch,
    'spatial_merge_size': config.merge,
    'window_size': config.window * config.patch,
    'fullatt_block_indexes': list(config.full),
    'temporal_patch_size': config.frames,
    'in_channels': config.channels,
    'rope_parameters': {'rope_type': 'axial', 'rope_theta': config.rope_theta},
  }


class Attention(nnx.Module):
  """Projections of one layer; queries, keys and values lie behind one another in `qkv`."""

  def __init__(self, config: VisionConfig, key: Array):
    first, second = jax.random.split(key)
    self.qkv = Linear(first, config.width, 3 * config.width, bias=True)
    self.o = Linear(second, config.width, config.width, bias=True)


class Mlp(nnx.Module):
  """SwiGLU with biases."""

  def __init__(self, config: VisionConfig, key: Array):
    keys = jax.random.split(key, 3)
    self.gate = Linear(keys[0], config.width, config.ff, bias=True)
    self.up = Linear(keys[1], config.width, config.ff, bias=True)
    self.down = Linear(keys[2], config.ff, config.width, bias=True)

  def __call__(self, x: Array) -> Array:
    return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
  """One layer; layers of both kinds have the same parameters."""

  def __init__(self, config: VisionConfig, key: Array):
    first, second = jax.random.split(key)
    self.attention_norm = nnx.Param(jnp.ones(config.width))
    self.attention = Attention(config, first)
    self.mlp_norm = nnx.Param(jnp.ones(config.width))
    self.mlp = Mlp(config, second)


class VisionTower(nnx.Module):
  """Parameters of a whole tower.

  Attributes:
    patch: linear map [d, D] without bias.
    blocks: a `Block` whose parameters are stacked over L.
    merger_norm: [D].
    merger_up, merger_down: linear maps [merge²·D, merge²·D] and [merge²·D, out].
  """

  def __init__(self, config: VisionConfig, key: Array):
    keys = jax.random.split(key, 4)
    unit = config.width * config.merge**2
    self.patch = Linear(keys[0], config.patch_width, config.width)
    stacked = jax.vmap(lambda k: Block(config, k))(jax.random.split(keys[1], config.layers))
    self.blocks: Any = nnx.data(stacked)
    self.merger_norm = nnx.Param(jnp.ones(config.width))
    self.merger_up = Linear(keys[2], unit, unit, bias=True)
    self.merger_down = Linear(keys[3], unit, config.out, bias=True)


def features(tower: VisionTower, config: VisionConfig, pictures: Pictures, *, remat: bool = False) -> Array:
  """Runs the tower.

  Norms, softmax and rotary angles are float32, everything else the parameters' dtype.

  Args:
    tower: parameters.
    config: static numbers.
    pictures: M pictures in S slots each, as `vision_layout.arrange` lays them out.
    remat: whether the backward pass recomputes each layer instead of keeping its activations.

  Returns:
    [M, U, out], U = S / merge²: one row per unit in slot order (see `Layout.unit_slots`), zero where a unit
    is empty.
  """
  live = jnp.asarray(pictures.live)
  patches = jnp.asarray(pictures.patches)
  x = tower.patch(patches.astype(tower.patch.w.dtype))
  angles = _angles(jnp.asarray(pictures.place), config)

  def layer(x, inputs):
    block, whole = inputs
    return _block(block, x, angles, live, whole, config), None

  whole = jnp.isin(jnp.arange(config.layers), jnp.array(config.full, jnp.int32))
  x, _ = jax.lax.scan(jax.checkpoint(layer) if remat else layer, x, (tower.blocks, whole))
  return _merge(tower, x, live, config)


def _angles(place: Array, config: VisionConfig) -> tuple[Array, Array]:
  """Cosine and sine [M, 1, S, H/2]: a head's first quarter turns by the row, its second by the column."""
  half = config.head_dim // 2
  frequency = config.rope_theta ** (-jnp.arange(0, half, 2, dtype=jnp.float32) / half)
  angle = place.astype(jnp.float32)[..., None] * frequency[None, None, None]
  angle = angle.reshape(*place.shape[:2], half)[:, None]
  return jnp.cos(angle), jnp.sin(angle)


def _block(block: Block, x: Array, angles, live: Array, whole: Array, config: VisionConfig) -> Array:
  m, s, d = x.shape
  normed = rms_norm(x, block.attention_norm[...], config.norm_eps)
  qkv = block.attention.qkv(normed).reshape(m, s, 3, config.heads, config.head_dim)
  q, k, v = qkv.transpose(2, 0, 3, 1, 4)
  q, k = rope.rotate(q, *angles), rope.rotate(k, *angles)
  # The backward pass starts from q, k and v: a branch would otherwise keep both kinds' logits of every layer.
  attend = jax.checkpoint(functools.partial(_attend, cut=config.windows.capacity))
  attended = attend(q, k, v, live, whole)
  x = x + block.attention.o(attended.transpose(0, 2, 1, 3).reshape(m, s, d))
  return x + block.mlp(rms_norm(x, block.mlp_norm[...], config.norm_eps))


def _attend(q: Array, k: Array, v: Array, live: Array, whole: Array, *, cut: int) -> Array:
  """Attention over the picture or within windows, as the scalar `whole` says.

  A branch, and not a scan per kind: half the program and half its compile time.
  """
  return jax.lax.cond(whole, _over_picture, functools.partial(_within_windows, cut=cut), q, k, v, live)


def _within_windows(q: Array, k: Array, v: Array, live: Array, *, cut: int) -> Array:
  """Attention [M, N, S, H] inside neighbouring runs of `cut` slots."""
  m, n, s, h = q.shape
  q, k, v = (x.reshape(m, n, s // cut, cut, h) for x in (q, k, v))
  return _read(q, k, v, live.reshape(m, 1, s // cut, cut)).reshape(m, n, s, h)


def _over_picture(q: Array, k: Array, v: Array, live: Array) -> Array:
  """Attention [M, N, S, H] to all live slots, so many queries at a time that `LOGITS` holds."""
  m, n, s, h = q.shape
  chunk = max(c for c in range(1, s + 1) if s % c == 0 and c * s <= max(LOGITS, s))
  read = lambda part: _read(part, k, v, live[:, None])
  if chunk == s:
    return read(q)
  parts = q.reshape(m, n, s // chunk, chunk, h).transpose(2, 0, 1, 3, 4)
  parts = jax.lax.map(jax.checkpoint(read), parts)  # the backward pass, too, holds one chunk's logits
  return parts.transpose(1, 2, 0, 3, 4).reshape(m, n, s, h)


def _read(q: Array, k: Array, v: Array, live: Array) -> Array:
  """Softmax attention [..., T, H] to the live ones of [..., S]; where none lives, a finite nothing."""
  logits = jnp.einsum('...TH,...SH->...TS', q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
  weight = jax.nn.softmax(jnp.where(live[..., None, :], logits, MASKED), axis=-1)
  return jnp.einsum('...TS,...SH->...TH', weight.astype(v.dtype), v)


def _merge(tower: VisionTower, x: Array, live: Array, config: VisionConfig) -> Array:
  m, s, d = x.shape
  unit = config.merge**2
  normed = rms_norm(x, tower.merger_norm[...], config.norm_eps).reshape(m, s // unit, unit * d)
  merged = tower.merger_down(jax.nn.gelu(tower.merger_up(normed), approximate=False))
  # A unit is live or empty as a whole.
  return jnp.where(live.reshape(m, s // unit, unit)[..., :1], merged, 0)
