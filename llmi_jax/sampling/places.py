"""Where generation's arrays live: on one device, or cut over a mesh that one or several processes share.

Prompts and rows are cut into J shards over the mesh's data axes, heads of keys and values over others. Each
process has a run of neighbouring shards: it writes its own prompts and rows there and reads them back, and
never sees another's.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from llmi_jax.sampling.state import Beginning, Chunk, Emitted, Move, Prompts, Rows, State


@dataclasses.dataclass(frozen=True)
class Places:
  """A mesh as generation sees it.

  Attributes:
    mesh: None for one device.
    data: mesh axes that cut prompts and rows.
    heads: mesh axes that cut heads of keys and values.
  """

  mesh: Mesh | None = None
  data: tuple[str, ...] = ()
  heads: tuple[str, ...] = ()

  @property
  def shards(self) -> int:
    """J."""
    return 1 if self.mesh is None else int(np.prod([self.mesh.shape[axis] for axis in self.data], dtype=int))

  @property
  def processes(self) -> int:
    """How many processes the mesh's devices belong to."""
    return 1 if self.mesh is None else len({device.process_index for device in self.mesh.devices.flat})

  def state(self) -> State | None:
    """Shardings of a state, the same ones before and after every program; None on one device."""
    if self.mesh is None:
      return None
    on, kv, whole = self._on(self.data), self._on(self.data, self.heads), self._on()
    rows = Rows(kv, whole, on, on, on, on, on, on, on, on)
    return State(Prompts(kv, on, on, on), rows)

  def emitted(self) -> Emitted | None:
    """Shardings of what a chunk of decoding emits."""
    on = self._on((), self.data) if self.mesh is not None else None
    return None if on is None else Emitted(on, on, on, on, on)

  def whole(self) -> Any:
    """Of what every device has."""
    return None if self.mesh is None else self._on()

  def put_chunk(self, chunk: Chunk) -> Chunk:
    """Puts this process's part of a chunk with everybody else's."""
    positions = self._put(chunk.positions, *((), self.data) if chunk.positions.ndim == 3 else (self.data,))
    rest = (None if x is None else self._put(x, self.data) for x in chunk._replace(positions=None))
    return Chunk(*rest)._replace(positions=positions)

  def put_beginning(self, beginning: Beginning) -> Beginning:
    """Likewise."""
    return Beginning(*(self._put(x, self.data) for x in beginning))

  def put_move(self, move: Move) -> Move:
    """Likewise."""
    return Move(*(self._put(x, self.data) for x in move))

  def put_rows(self, rows: np.ndarray) -> Any:
    """Likewise, an array over rows."""
    return self._put(rows, self.data)

  def put_whole(self, x: Any) -> Any:
    """Gives every device the same array."""
    if self.mesh is None:
      return x
    if self.processes == 1:
      return jax.device_put(x, self._on())
    return jax.make_array_from_process_local_data(self._on(), np.asarray(x), np.shape(x))

  def _on(self, *axes: tuple[str, ...]) -> Any:
    """A sharding by mesh axes of each axis."""
    assert self.mesh is not None
    return NamedSharding(self.mesh, PartitionSpec(*(names or None for names in axes)))

  def _put(self, x: np.ndarray, *axes: tuple[str, ...]) -> Any:
    if self.mesh is None:
      return x
    shape = list(x.shape)
    shape[len(axes) - 1] *= self.processes
    return jax.make_array_from_process_local_data(self._on(*axes), x, tuple(shape))


def fetch(tree: Any) -> Any:
  """What this process has of arrays, on the host: all of them where there is one process."""
  leaves, form = jax.tree.flatten(tree)
  if all(leaf.is_fully_addressable for leaf in leaves):
    return jax.device_get(tree)
  for leaf in leaves:
    for shard in leaf.addressable_shards:
      shard.data.copy_to_host_async()
  return jax.tree.unflatten(form, [_own(leaf) for leaf in leaves])


def _own(x: Array) -> np.ndarray:
  """This process's shards of an array that is cut along one axis, in order."""
  pieces = {}
  for shard in x.addressable_shards:
    starts = tuple(part.start or 0 for part in shard.index)
    pieces.setdefault(starts, shard.data)
  order = sorted(pieces)
  axis = next((a for a in range(x.ndim) if len({start[a] for start in order}) > 1), 0)
  return np.concatenate([np.asarray(pieces[at]) for at in order], axis) if x.ndim else np.asarray(pieces[()])
