"""A mixture of experts of the Qwen3 kind: softmax over all, then the best k; no token is dropped.

Under a mesh it runs in one `shard_map`: tokens are gathered over the `expert` axis, each device serves its
own experts, and sums are scattered back. Routing looks at one token at a time, whatever its batch.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from llmi_jax.models import grouped
from llmi_jax.models.config import DecoderConfig, Experts
from llmi_jax.models.linear import Linear, wide
from llmi_jax.models.sharding import Layout, leaf_name, logical_axes

STRETCH = (
  1 << 14
)  # tokens that a device's experts serve at a time: each is there once for every expert it chose


class Moe(nnx.Module):
  """Parameters of one layer's mixture.

  Attributes:
    router: [D, E].
    gate: [E, D, F] of each expert, likewise `up`; `down` is [E, F, D].
  """

  def __init__(self, config: DecoderConfig, key: Array):
    experts = config.experts
    assert experts is not None
    keys = jax.random.split(key, 4)

    def each(key, inputs, outputs):
      keys = jax.random.split(key, experts.count)
      return nnx.data(jax.vmap(lambda k: Linear(k, inputs, outputs))(keys))

    self.router = Linear(keys[0], config.width, experts.count)
    self.gate = each(keys[1], config.width, experts.ff)
    self.up = each(keys[2], config.width, experts.ff)
    self.down = each(keys[3], experts.ff, config.width)


class Routing(NamedTuple):
  """What a layer's router did, for the balancing loss and for logging.

  Attributes:
    logits: [B, T, E] float32.
    chosen: [B, E] float32, how often a row's live tokens chose each expert.
    probability: [B, E] float32, the sum of each expert's probability over a row's live tokens.
    choice: [B, T, K] int32, the experts of each token.
  """

  logits: Array
  chosen: Array
  probability: Array
  choice: Array


def mixture(
  moe: Moe,
  x: Array,
  live: Array,
  experts: Experts,
  kind: grouped.Kind,
  layout: Layout | None,
  replay: Array | None = None,
) -> tuple[Array, Routing]:
  """Runs the mixture.

  Args:
    moe: parameters.
    x: [B, T, D], normed.
    live: [B, T] bool; tokens that are padding choose no expert.
    experts: static numbers.
    kind: how experts are multiplied; see `grouped`.
    layout: mesh and rules; None on one device.
    replay: [B, T, K] int32, experts to use in place of the likeliest; their weights are those of this pass.

  Returns:
    [B, T, D] in x's dtype, 0 at padding, and what the router did.
  """
  logits = moe.router(x)
  probability = jax.nn.softmax(logits.astype(wide(x.dtype)), -1)
  weight, choice = jax.lax.top_k(probability, experts.active)
  if replay is not None:
    choice = replay.astype(choice.dtype)
    weight = jnp.take_along_axis(probability, choice, -1)
  if experts.normalized:
    weight = weight / weight.sum(-1, keepdims=True)
  weight = weight.astype(x.dtype)
  alive = live.astype(probability.dtype)[..., None]
  hot = (choice[..., None] == jnp.arange(experts.count)[None, None, None]).astype(alive.dtype).sum(2)
  chosen, likely = (hot * alive).sum(1), (probability * alive).sum(1)
  routing = Routing(logits.astype(alive.dtype), chosen, likely, choice)
  choice = jnp.where(live[..., None], choice, experts.count)
  maps = {'gate': moe.gate, 'up': moe.up, 'down': moe.down}
  if layout is None:
    return _serve(maps, x, choice, weight, held=experts.count, kind=kind, axis=()), routing
  return _sharded(maps, x, choice, weight, experts, kind, layout), routing


def _sharded(maps, x: Array, choice: Array, weight: Array, experts: Experts, kind, layout: Layout) -> Array:
  batch = layout.spec(('batch', None, None))
  outputs, inputs = layout.axes('expert_ff'), layout.axes('experts')

  def spec(path, leaf):
    """Within the map a parameter is split over experts and feed-forward width, never over model width."""
    logical = logical_axes(f'moe.{leaf_name(path)}', leaf.ndim)
    return layout.spec(tuple(None if axis == 'expert_width' else axis for axis in logical))

  def local(maps, x, choice, weight):
    if inputs:
      x, choice, weight = (jax.lax.all_gather(a, inputs, axis=0, tiled=True) for a in (x, choice, weight))
    y = _serve(maps, x, choice, weight, held=experts.count // layout.size('experts'), kind=kind, axis=inputs)
    if outputs:
      y = jax.lax.psum(y, outputs)
    if inputs:
      y = jax.lax.psum_scatter(y, inputs, scatter_dimension=0, tiled=True)
    return y

  specs = jax.tree_util.tree_map_with_path(spec, maps)
  return jax.shard_map(
    local, mesh=layout.mesh, in_specs=(specs, batch, batch, batch), out_specs=batch, check_vma=False
  )(maps, x, choice, weight)


def _serve(
  maps: dict[str, Linear],
  x: Array,
  choice: Array,
  weight: Array,
  *,
  held: int,
  kind: grouped.Kind,
  axis: tuple[str, ...],
) -> Array:
  """What the `held` experts of this device add for all tokens that it sees: [B, T, D].

  Many tokens go by stretches, backwards too, where each is computed again.
  """
  tokens = x.shape[0] * x.shape[1]
  serve = partial(_serve_some, maps, held=held, kind=kind, axis=axis)
  flat = [a.reshape(tokens, -1) for a in (x, choice, weight)]
  stretches = -(-tokens // STRETCH)
  if stretches == 1:
    return serve(*flat).reshape(x.shape)
  size = -(-tokens // stretches)

  def cut(a: Array, fill: int) -> Array:
    padded = jnp.pad(a, ((0, stretches * size - tokens), (0, 0)), constant_values=fill)
    return padded.reshape(stretches, size, -1)

  nobody = jnp.iinfo(jnp.int32).max
  pieces = tuple(cut(a, fill) for a, fill in zip(flat, (0, nobody, 0)))
  served = jax.lax.map(lambda piece: jax.checkpoint(serve)(*piece), pieces)
  return served.reshape(stretches * size, -1)[:tokens].reshape(x.shape)


def _serve_some(
  maps: dict[str, Linear],
  x: Array,
  choice: Array,
  weight: Array,
  *,
  held: int,
  kind: grouped.Kind,
  axis: tuple[str, ...],
) -> Array:
  """The same of [N, D]."""
  n, d = x.shape
  active = choice.shape[-1]
  own = choice.reshape(-1)
  if axis:
    own = own - jax.lax.axis_index(axis) * held
  own = jnp.where((own < 0) | (own > held), held, own)
  block = grouped.block_size(kind, own.shape[0], held)
  plan = grouped.plan(own, held, block)
  each = jnp.broadcast_to(x[:, None], (n, active, d)).reshape(-1, d)
  rows = grouped.take(each, plan.assignment, plan.slot)
  multiply = partial(grouped.grouped_matmul, sizes=plan.sizes, kind=kind, block=block)
  hidden = jax.nn.silu(maps['gate'].through(rows, multiply)) * maps['up'].through(rows, multiply)
  made = grouped.take(maps['down'].through(hidden, multiply), plan.slot, plan.assignment)
  return jnp.sum(made.reshape(n, active, d) * weight[..., None], 1)
