"""Where arrays live on a mesh: one table from parameters to logical axes, another from those to mesh axes.

The mesh has four axes. `replica` and `fsdp` split the batch; `fsdp` also splits parameters, which are
gathered where they are used; `tensor` splits heads, feed-forward width and vocabulary; `expert` splits
experts, and the batch outside of them. Rules are data: another split is another table, not another code path.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from llmi_jax.core.errors import ShardingError
from llmi_jax.models.config import DecoderConfig

MESH_AXES = ('replica', 'fsdp', 'tensor', 'expert')
Rules = tuple[tuple[str, tuple[str, ...]], ...]

# Logical axis → mesh axes. `tokens` on `tensor` would be sequence parallelism of the residual stream.
TRAIN: Rules = (
  ('batch', ('replica', 'fsdp', 'expert')),
  ('tokens', ()),
  ('layer', ()),
  ('vocab', ('tensor',)),
  ('width', ('fsdp', 'expert')),
  ('heads', ('tensor',)),
  ('kv_heads', ('tensor',)),
  ('ff', ('tensor',)),
  ('experts', ('expert',)),
  ('expert_width', ('fsdp',)),
  ('expert_ff', ('tensor',)),
  ('vision_width', ('fsdp', 'expert')),
  ('vision_heads', ()),
  ('vision_ff', ()),
  ('patch', ()),
  ('rank', ()),
)
# In generation parameters must not be gathered at every token.
ROLLOUT: Rules = tuple(
  (name, () if name in ('width', 'expert_width', 'vision_width') else axes) for name, axes in TRAIN
)
SEQUENCE: Rules = tuple((name, ('tensor',) if name == 'tokens' else axes) for name, axes in TRAIN)

# Inputs and outputs of linear maps, and what stands in front, by the end of their path; an adapter's leaves
# follow from them.
LINEAR: dict[str, tuple[str | None, ...]] = {
  'attention.q': ('width', 'heads'),
  'attention.k': ('width', 'kv_heads'),
  'attention.v': ('width', 'kv_heads'),
  'attention.o': ('heads', 'width'),
  'mlp.gate': ('width', 'ff'),
  'mlp.up': ('width', 'ff'),
  'mlp.down': ('ff', 'width'),
  'tower.patch': ('patch', 'vision_width'),
  'blocks.attention.qkv': ('vision_width', 'vision_heads'),
  'blocks.attention.o': ('vision_heads', 'vision_width'),
  'blocks.mlp.gate': ('vision_width', 'vision_ff'),
  'blocks.mlp.up': ('vision_width', 'vision_ff'),
  'blocks.mlp.down': ('vision_ff', 'vision_width'),
  'tower.merger_up': ('vision_width', None),
  'tower.merger_down': (None, 'vision_width'),
  'moe.router': ('width', None),
  'moe.gate': ('expert_width', 'expert_ff', 'experts'),
  'moe.up': ('expert_width', 'expert_ff', 'experts'),
  'moe.down': ('expert_ff', 'expert_width', 'experts'),
}
OTHER: dict[str, tuple[str | None, ...]] = {
  'embedding': ('vocab', 'width'),
  'head': ('width', 'vocab'),
  'norm': (None,),
  'attention_norm': (None,),
  'mlp_norm': (None,),
  'q_norm': (None,),
  'k_norm': (None,),
  'merger_norm': (None,),
}


def make_mesh(sizes: Mapping[str, int], devices: Sequence[Any]) -> Mesh:
  """A mesh over `devices` with `MESH_AXES`; axes that `sizes` does not name have size 1.

  Raises:
    ShardingError: an axis is unknown, or the sizes do not multiply to the number of devices.
  """
  if unknown := sorted(sizes.keys() - set(MESH_AXES)):
    raise ShardingError(f'There is no mesh axis {unknown[0]!r}; known are {", ".join(MESH_AXES)}.')
  shape = tuple(sizes.get(axis, 1) for axis in MESH_AXES)
  if min(shape) < 1 or int(np.prod(shape)) != len(devices):
    words = ' × '.join(f'{axis} {size}' for axis, size in zip(MESH_AXES, shape))
    raise ShardingError(
      f'The mesh {words} has {np.prod(shape)} places and there are {len(devices)} devices; '
      'make the sizes multiply to that number.'
    )
  return Mesh(np.asarray(devices).reshape(shape), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


@dataclasses.dataclass(frozen=True)
class Layout:
  """A mesh and its rules; hashable, so that a program can be made for it.

  Attributes:
    mesh: with `MESH_AXES`.
    rules: logical axis → mesh axes.
  """

  mesh: Mesh | AbstractMesh
  rules: Rules = TRAIN

  def axes(self, logical: str | None) -> tuple[str, ...]:
    """The mesh axes of a logical one, those of size 1 left out."""
    found = dict(self.rules)[logical] if logical is not None else ()
    return tuple(axis for axis in found if self.mesh.shape[axis] > 1)

  def spec(self, logical: Sequence[str | None]) -> PartitionSpec:
    """The partition of an array with these logical axes."""
    return PartitionSpec(*(self.axes(name) or None for name in logical))

  def sharding(self, logical: Sequence[str | None]) -> NamedSharding:
    return NamedSharding(self.mesh, self.spec(logical))

  def size(self, logical: str | None) -> int:
    """Into how many pieces a logical axis is cut."""
    return int(np.prod([self.mesh.shape[axis] for axis in self.axes(logical)], dtype=np.int64))


def constrain(x: Array, layout: Layout | None, *logical: str | None) -> Array:
  """Places an activation; nothing without a layout."""
  return x if layout is None else jax.lax.with_sharding_constraint(x, layout.sharding(logical))


def leaf_name(path: Any) -> str:
  """`spans.0.1.mlp.up.w` of a key path into a model."""
  names = [str(getattr(key, 'name', getattr(key, 'key', getattr(key, 'idx', key)))) for key in path]
  return '.'.join(name for name in names if name != 'value')


def logical_axes(name: str, rank: int) -> tuple[str | None, ...]:
  """Logical axes of a parameter by its path; axes in front that the table does not name are `layer`.

  Args:
    name: as `leaf_name` makes it.
    rank: number of axes.

  Raises:
    ShardingError: no table knows the parameter.
  """
  linear = re.fullmatch(r'(.*)\.(w|b|lora\.a|lora\.b)', name)
  ends = _by_ending(LINEAR, linear[1]) if linear else None
  if linear and ends is not None:
    inputs, outputs, *front = ends
    leaves = {
      'w': (inputs, outputs),
      'b': (outputs,),
      'lora.a': (inputs, 'rank'),
      'lora.b': ('rank', outputs),
    }
    own = (*front, *leaves[linear[2]])
  else:
    own = _by_ending(OTHER, name)
    if own is None:
      raise ShardingError(f'No table says how the parameter {name} is split; add it to models/sharding.')
  return ('layer',) * (rank - len(own)) + own


def _by_ending(table: Mapping[str, Any], path: str) -> Any:
  """The entry of the longest ending of a dotted path, or None."""
  parts = path.split('.')
  endings = ('.'.join(parts[start:]) for start in range(len(parts)))
  return next((table[ending] for ending in endings if ending in table), None)


def units(config: DecoderConfig) -> dict[str, int]:
  """Sizes of axes that are cut between whole heads only."""
  return {'heads': config.heads, 'kv_heads': config.kv_heads}


def shardings(abstract: Any, layout: Layout, config: DecoderConfig) -> Any:
  """The sharding of every leaf of a model.

  Args:
    abstract: the model, or its shapes.
    layout: mesh and rules.
    config: whose heads must not be torn apart.

  Raises:
    ShardingError: two axes of a parameter want one mesh axis, or an axis cannot be cut evenly; names
      parameter, axis and sizes.
  """

  def one(path, leaf):
    name = leaf_name(path)
    logical = logical_axes(name, leaf.ndim)
    _check(name, leaf.shape, logical, layout, units(config))
    return layout.sharding(logical)

  return jax.tree_util.tree_map_with_path(one, abstract)


def _check(name: str, shape, logical, layout: Layout, whole_units: Mapping[str, int]) -> None:
  used: dict[str, str | None] = {}
  for axis, size in zip(logical, shape):
    for mesh_axis in layout.axes(axis):
      if mesh_axis in used:
        raise ShardingError(
          f'{name}: its axes {used[mesh_axis]} and {axis} both want the mesh axis {mesh_axis}; '
          'change one of the two rules.'
        )
      used[mesh_axis] = axis
    pieces, whole = layout.size(axis), whole_units.get(axis or '', size)
    if whole % pieces:
      where = ' × '.join(f'{a} {layout.mesh.shape[a]}' for a in layout.axes(axis))
      raise ShardingError(
        f'{name}: its axis {axis} of {whole} cannot be cut into {pieces} equal pieces ({where}); '
        'choose a mesh size that divides it.'
      )
