"""From files to devices, one tensor at a time.

Each leaf is one buffer per device that holds a part of it. A tensor's bytes go as they are to the devices
that need them; there a donated program turns, casts and stores them, so that the host never holds a second
form, nor bytes that only other processes' devices want.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.models.names import Place
from llmi_jax.weights.catalogue import Match
from llmi_jax.weights.format import Box, matrix, read

# Called with the bytes that are done and those of all tensors.
Progress = Callable[[int, int], None]
# What a device holds of a leaf: a slice per axis, its ends known. Without a layout the device is None.
Part = tuple[slice, ...]


def fill(leaves: Mapping[str, Any], matches: Sequence[Match], progress: Progress | None) -> dict[str, Array]:
  """Arrays with what the files hold.

  Args:
    leaves: shape, dtype and sharding (or None) of each, by path.
    matches: every tensor of every leaf, in the order in which they are read.
    progress: told after each tensor.

  Raises:
    WeightsError: a file cannot be read.
  """
  parts = {name: _parts(leaf) for name, leaf in leaves.items()}
  buffers: dict[str, dict[Any, Array]] = {name: {} for name in leaves}
  total, done = sum(one.stored.size for one in matches), 0
  flight = _Flight(max((one.stored.size for one in matches), default=0))
  for one in matches:
    name = one.place.leaf
    flight.make_room(one.stored.size)
    _send(one, leaves[name], parts[name], buffers[name])
    flight.add(buffers[name])
    done += one.stored.size
    if progress is not None:
      progress(done, total)
  return {name: _whole(leaves[name], list(own.values())) for name, own in buffers.items()}


def _send(match: Match, leaf: Any, parts: Mapping[Any, Part], buffers: dict[Any, Array]) -> None:
  """Reads what devices of this process want of a tensor and starts to store it there."""
  stored, place = match
  wants = _wants(place, parts, stored.shape)
  arrays = read(stored, list(wants))
  for targets in wants.values():
    array = arrays.pop(0)
    for device, index in targets:
      tensor = jax.device_put(array[:, 0] if leaf.ndim == len(index) + 1 else array, device)
      if index and device not in buffers:
        buffers[device] = jnp.zeros(_shape(parts[device]), leaf.dtype, device=device)
      buffers[device] = _store(
        buffers.get(device), tensor, index, dtype=leaf.dtype, transposed=place.transposed
      )


def _parts(leaf: Any) -> dict[Any, Part]:
  if leaf.sharding is None:
    return {None: tuple(slice(0, size) for size in leaf.shape)}
  held = leaf.sharding.addressable_devices_indices_map(leaf.shape)
  return {
    device: tuple(slice(*one.indices(size)[:2]) for one, size in zip(slices, leaf.shape))
    for device, slices in held.items()
  }


def _shape(part: Part) -> tuple[int, ...]:
  return tuple(one.stop - one.start for one in part)


def _wants(place: Place, parts: Mapping[Any, Part], shape: Sequence[int]) -> dict[Box, list]:
  """Box of the tensor → the devices that want it, each with the tensor's index in its part of the leaf."""
  wants: dict[Box, list] = {}
  for device, index, own in _holders(place, parts):
    rows, columns = matrix(shape)
    axes = own[::-1] if place.transposed else own
    spans = [*axes, slice(0, columns)] if len(axes) == 1 else axes
    box = Box(spans[0].start, spans[0].stop, spans[1].start, spans[1].stop)
    assert box.bottom <= rows and box.right <= columns, (place, box)
    wants.setdefault(box, []).append((device, index))
  return wants


def _holders(place: Place, parts: Mapping[Any, Part]) -> Iterator[tuple[Any, tuple[int, ...], Part]]:
  front = len(place.index)
  for device, part in parts.items():
    if all(own.start <= i < own.stop for own, i in zip(part, place.index)):
      yield device, tuple(i - own.start for own, i in zip(part, place.index)), part[front:]


@partial(jax.jit, donate_argnums=0, static_argnames=('dtype', 'transposed'))
def _store(buffer: Array | None, tensor: Array, index: tuple[Any, ...], *, dtype, transposed: bool) -> Array:
  value = (tensor.T if transposed else tensor).astype(dtype)
  if buffer is None:
    return value
  start = (*index, *(0 for _ in value.shape))
  return jax.lax.dynamic_update_slice(buffer, value.reshape((1,) * len(index) + value.shape), start)


class _Flight:
  """Bounds the bytes that the host holds for devices that have not taken them yet."""

  def __init__(self, limit: int):
    self._limit, self._bytes = limit, 0
    self._touched: dict[int, dict[Any, Array]] = {}

  def make_room(self, size: int) -> None:
    """Waits if `size` more bytes would be too many."""
    if self._bytes + size > self._limit:
      jax.block_until_ready([list(own.values()) for own in self._touched.values()])
      self._bytes, self._touched = 0, {}
    self._bytes += size

  def add(self, buffers: dict[Any, Array]) -> None:
    """Counts on buffers that were just written."""
    self._touched[id(buffers)] = buffers


def _whole(leaf: Any, buffers: list[Array]) -> Array:
  if leaf.sharding is None:
    return buffers[0]
  return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, buffers)
