"""The safetensors format: the header's length in eight bytes, a JSON header, the tensors' bytes.

Files are read and written here and not by the library, which maps whole files (what was read then counts as
resident memory), does not say which tensor a broken file lacks, and wants all tensors of a file at once to
write them. Here one tensor is held at a time.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from llmi_jax.core.errors import WeightsError
from llmi_jax.services import storage

DTYPES = {'F32': np.dtype(np.float32), 'BF16': np.dtype(jnp.bfloat16), 'F16': np.dtype(np.float16)}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # as the format limits it
CHUNK = 1 << 22  # bytes read at once where a part of each row is wanted
AGAIN = 'copy the file again.'


@dataclasses.dataclass(frozen=True)
class Stored:
  """A tensor in a file.

  Attributes:
    name: its name there.
    path: the file.
    dtype: the format's name of it.
    shape: of the tensor.
    start: offset of its first byte in the file.
    size: in bytes.
  """

  name: str
  path: pathlib.Path
  dtype: str
  shape: tuple[int, ...]
  start: int
  size: int


class Box(NamedTuple):
  """A part of a tensor that is read as a matrix: its first axis against all others."""

  top: int
  bottom: int
  left: int
  right: int

  @property
  def shape(self) -> tuple[int, int]:
    return self.bottom - self.top, self.right - self.left


def read_header(path: pathlib.Path) -> dict[str, Stored]:
  """The tensors of a file.

  Raises:
    WeightsError: the file is absent, no safetensors file, or shorter than its header says.
  """
  try:
    with path.open('rb') as file:
      total = os.fstat(file.fileno()).st_size
      first = file.read(8)
      if first == b'version ':
        raise WeightsError(f'{path} is a Git LFS pointer and not the file itself; run `git lfs pull`.')
      length = int.from_bytes(first, 'little')
      if len(first) < 8 or length > min(LONGEST_HEADER, total - 8):
        raise WeightsError(f'{path} is no safetensors file or ends within its header; {AGAIN}')
      text = file.read(length)
  except OSError as error:
    raise WeightsError(f'{path} cannot be read ({error.strerror}); check the path.') from error
  try:
    header = json.loads(text, object_pairs_hook=_once)
  except (ValueError, RecursionError) as error:
    raise WeightsError(f'{path} has a header that cannot be read ({error}); {AGAIN}') from error
  if not isinstance(header, dict):
    raise WeightsError(f'{path} has a header that is no JSON object; {AGAIN}')
  header.pop('__metadata__', None)
  found = [_stored(path, name, fields, 8 + length) for name, fields in header.items()]
  _check_places(path, found, 8 + length, total)
  return {one.name: one for one in found}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  made = dict(pairs)
  if len(made) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError(f'it holds {next(n for n in names if names.count(n) > 1)} twice')
  return made


def _stored(path: pathlib.Path, name: str, fields: Any, base: int) -> Stored:
  try:
    dtype, shape, (begin, end) = str(fields['dtype']), tuple(fields['shape']), fields['data_offsets']
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end - begin)):
      raise ValueError
  except (TypeError, KeyError, ValueError):
    raise WeightsError(f'{path} has a header that does not describe {name} properly; {AGAIN}') from None
  size = end - begin
  if dtype in DTYPES and size != math.prod(shape) * DTYPES[dtype].itemsize:
    raise WeightsError(
      f'{path} gives {name} {size} bytes, which is not what {dtype}{list(shape)} takes; {AGAIN}'
    )
  return Stored(name, path, dtype, shape, base + begin, size)


def _check_places(path: pathlib.Path, found: Sequence[Stored], start: int, total: int) -> None:
  """Tensors must fill the file, one after the other."""
  for one in sorted(found, key=lambda stored: (stored.start, stored.size)):
    if one.start != start:
      raise WeightsError(f'{path} has a gap or an overlap before {one.name}; {AGAIN}')
    start += one.size
    if start > total:
      raise WeightsError(
        f'{path} is cut short by {start - total} bytes or more: it ends within {one.name}; {AGAIN}'
      )
  if start != total:
    raise WeightsError(f'{path} has {total - start} bytes behind its last tensor; {AGAIN}')


def matrix(shape: Sequence[int]) -> tuple[int, int]:
  """Rows and columns of a tensor that is read as a matrix."""
  return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def read(stored: Stored, boxes: Sequence[Box]) -> list[np.ndarray]:
  """Parts of a tensor in one pass over its bytes; parts that span all columns are read in place.

  Raises:
    WeightsError: the file cannot be read or has become shorter.
  """
  dtype, (_, width) = DTYPES[stored.dtype], matrix(stored.shape)
  made = [np.empty(box.shape, dtype) for box in boxes]
  narrow = [(box, out) for box, out in zip(boxes, made) if box.shape[1] != width]
  stride = width * dtype.itemsize
  with stored.path.open('rb', buffering=0) as file:
    for box, out in zip(boxes, made):
      if box.shape[1] == width:
        _read_into(file, stored, stored.start + box.top * stride, out)
    if narrow:
      top, bottom = min(box.top for box, _ in narrow), max(box.bottom for box, _ in narrow)
      step = max(1, CHUNK // max(1, stride))
      chunk = np.empty((min(step, bottom - top), width), dtype)
      for row in range(top, bottom, step):
        rows = chunk[: min(step, bottom - row)]
        _read_into(file, stored, stored.start + row * stride, rows)
        for box, out in narrow:
          first, last = max(row, box.top), min(row + len(rows), box.bottom)
          if first < last:
            out[first - box.top : last - box.top] = rows[first - row : last - row, box.left : box.right]
  return made


def whole(stored: Stored) -> np.ndarray:
  """All of a tensor, in its shape."""
  rows, columns = matrix(stored.shape)
  return read(stored, [Box(0, rows, 0, columns)])[0].reshape(stored.shape)


def _read_into(file: Any, stored: Stored, offset: int, out: np.ndarray) -> None:
  view = out.reshape(-1).view(np.uint8).data
  try:
    while view:
      count = os.preadv(file.fileno(), [view], offset)
      if not count:
        raise WeightsError(f'{stored.path} ends within {stored.name}; {AGAIN}')
      view, offset = view[count:], offset + count
  except OSError as error:
    raise WeightsError(f'{stored.path} cannot be read ({error.strerror}); check the disk.') from error


def write(
  path: pathlib.Path, shapes: Sequence[tuple[str, np.dtype, tuple[int, ...]]], arrays: Iterable[np.ndarray]
) -> None:
  """Writes a file whose tensors come one at a time, in the order of `shapes`.

  Raises:
    StorageError: no space, no permission.
  """
  header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
  end = 0
  for name, dtype, shape in shapes:
    begin, end = end, end + math.prod(shape) * dtype.itemsize
    header[name] = {'dtype': NAMES[dtype], 'shape': list(shape), 'data_offsets': [begin, end]}
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  with storage.storing(path), path.open('wb') as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for (name, dtype, shape), array in zip(shapes, arrays, strict=True):
      assert (array.dtype, array.shape) == (dtype, shape), name
      file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())
