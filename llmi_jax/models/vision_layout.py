"""Where the patches of pictures lie in a vision tower's static slots. Pure NumPy, on the host.

A picture of h×w patches is cut into square windows. Windows follow one another, each with room for its full
number of patches; inside a window come its merge×merge units, row by row, and inside a unit its patches, row
by row. So attention within windows is a batch of small squares, attention over the whole picture is one over
all slots with the empty ones masked, and merging is a reshape: the tower needs no gather. Pictures whose
windows are not all full leave slots empty; the number of slots is the smallest bucket that holds the picture.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llmi_jax.core.errors import ConfigError, DataError

BUCKETS = (256, 1024, 4096, 16_384)

Grid = tuple[int, int, int]


class Pictures(NamedTuple):
  """What the tower reads: NumPy or JAX arrays over M pictures of one bucket of S slots.

  Attributes:
    patches: [M, S, d] pixels, zero where a slot is empty.
    live: [M, S] bool, whether a slot holds a patch.
    place: [M, S, 2] int32, (row, column) of the patch in its picture.
  """

  patches: Any
  live: Any
  place: Any


@dataclasses.dataclass(frozen=True)
class Windows:
  """How pictures are cut.

  Attributes:
    side: patches along a window.
    merge: patches along a unit, which becomes one image token.
  """

  side: int
  merge: int

  def __post_init__(self):
    if self.side < self.merge or self.side % self.merge:
      raise ConfigError(
        f'Windows of {self.side} patches a side cannot be cut into units of {self.merge}; '
        'mend window_size, patch_size or spatial_merge_size in the vision config.'
      )

  @property
  def capacity(self) -> int:
    """Slots of one window."""
    return self.side * self.side


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
  """Where the n = h·w patches of one picture lie.

  Attributes:
    slots: how many slots its windows take.
    patch_slots: [n] int32, the slot of every patch in the processor's order (unit by unit).
    place: [n, 2] int32, (row, column) of every patch, in the same order.
    unit_slots: [n / merge²] int32, the unit that feeds every image token; tokens run row by row.
  """

  slots: int
  patch_slots: np.ndarray
  place: np.ndarray
  unit_slots: np.ndarray


@functools.lru_cache(maxsize=1024)
def layout(grid: Grid, windows: Windows) -> Layout:
  """Lays out a still picture.

  Args:
    grid: (1, h, w) in patches.
    windows: how it is cut.

  Raises:
    DataError: the grid is a film's, or is not made of whole units.
  """
  frames, height, width = grid
  merge = windows.merge
  if frames != 1 or min(height, width) < merge or height % merge or width % merge:
    raise DataError(
      f'A picture of {frames}×{height}×{width} patches cannot be laid out; it must be 1×h×w, '
      f'h and w positive multiples of {merge}.'
    )
  rows, columns = np.divmod(np.arange((height // merge) * (width // merge)), width // merge)
  across, down = -(-width // windows.side), -(-height // windows.side)
  side = windows.side // merge  # units along a window
  window = rows // side * across + columns // side
  units = (window * side + rows % side) * side + columns % side
  inner_row, inner_column = np.divmod(np.arange(merge * merge), merge)
  place = np.stack(
    [rows[:, None] * merge + inner_row[None], columns[:, None] * merge + inner_column[None]], axis=-1
  )
  patch_slots = units[:, None] * merge * merge + np.arange(merge * merge)[None]
  found = Layout(
    slots=across * down * windows.capacity,
    patch_slots=patch_slots.reshape(-1).astype(np.int32),
    place=place.reshape(-1, 2).astype(np.int32),
    unit_slots=units.astype(np.int32),
  )
  for array in (found.patch_slots, found.place, found.unit_slots):
    array.flags.writeable = False  # the cache hands it to everybody
  return found


def bucket(grid: Grid, windows: Windows, buckets: Sequence[int] = BUCKETS) -> int:
  """The smallest bucket that holds a picture.

  Raises:
    ConfigError: a bucket does not consist of whole windows.
    DataError: the picture needs more slots than the largest bucket has.
  """
  for size in buckets:
    if size % windows.capacity:
      raise ConfigError(
        f'A bucket of {size} slots does not consist of whole windows of {windows.capacity}; '
        f'make every bucket a multiple of {windows.capacity}.'
      )
  slots = layout(grid, windows).slots
  for size in sorted(buckets):
    if slots <= size:
      return size
  raise DataError(
    f'A picture of {grid[1]}×{grid[2]} patches needs {slots} slots and the largest bucket has '
    f'{max(buckets)}; lower max_pixels in the preprocessor config.'
  )


def arrange(
  pictures: Sequence[tuple[np.ndarray, Grid]],
  windows: Windows,
  *,
  slots: int,
  count: int | None = None,
) -> Pictures:
  """Puts pictures into the slots of one bucket.

  Args:
    pictures: (patches [n, d] in the processor's order, grid) each; at least one.
    windows: how they are cut.
    slots: S, the bucket.
    count: M; empty pictures fill up.

  Raises:
    DataError: patches and grid of a picture do not fit each other, or it does not fit the bucket.
  """
  count = len(pictures) if count is None else count
  if not 0 < len(pictures) <= count:
    raise ValueError(f'{len(pictures)} pictures cannot be arranged as {count}.')
  width = pictures[0][0].shape[1]
  patches = np.zeros((count, slots, width), np.float32)
  live = np.zeros((count, slots), bool)
  place = np.zeros((count, slots, 2), np.int32)
  for m, (own, grid) in enumerate(pictures):
    found = layout(grid, windows)
    if own.shape != (len(found.patch_slots), width):
      raise DataError(
        f'A picture has {own.shape[0]} patches of {own.shape[1]} numbers and its grid {grid} asks for '
        f'{len(found.patch_slots)} of {width}; grid and patches must come from one processor.'
      )
    if found.slots > slots:
      raise DataError(f'A picture needs {found.slots} slots and its bucket has {slots}; use a larger one.')
    patches[m, found.patch_slots] = own
    live[m, found.patch_slots] = True
    place[m, found.patch_slots] = found.place
  return Pictures(patches, live, place)


def token_rows(pictures: Sequence[tuple[int, Grid]], windows: Windows) -> np.ndarray:
  """Which rows of the towers' output feed the image tokens of a prompt.

  Args:
    pictures: for every image-pad run in order, (the row where the picture's features begin, its grid). In the
      features of one bucket, flattened to [M·U, D], picture m begins at row m·U, U = S / merge².
    windows: how they are cut.

  Returns:
    [K] int32, K the number of image tokens.
  """
  rows = [first + layout(grid, windows).unit_slots for first, grid in pictures]
  return np.concatenate(rows).astype(np.int32) if rows else np.zeros(0, np.int32)
