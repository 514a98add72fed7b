"""Positions in three axes for prompts that hold pictures (M-RoPE, Qwen2-VL, arXiv 2409.12191). Pure NumPy.

A token of text has its position three times. The image tokens of a picture share their time, and their row
and column count from it; what follows goes on behind the longer side of the picture.
"""

from collections.abc import Sequence

import numpy as np

from llmi_jax.core.errors import DataError

Grid = tuple[int, int, int]


def positions(
  tokens: np.ndarray, grids: Sequence[Grid], *, image_pad: int | None, merge: int
) -> tuple[np.ndarray, int]:
  """Positions of a prompt.

  Args:
    tokens: [T] ids, image-pad runs expanded.
    grids: (1, h, w) in patches for every picture in the order of the prompt; a picture takes h·w / merge²
      image tokens in a row.
    image_pad: the id of image tokens; None where the vocabulary has none.
    merge: patches along what becomes one image token.

  Returns:
    [3, T] int32 (time, row, column), and delta: a token generated at index i has position i + delta on all
    axes.

  Raises:
    DataError: the image tokens are not as many as the pictures ask for, or are torn apart.
  """
  shapes = [(height // merge, width // merge) for _, height, width in grids]
  wanted = sum(rows * columns for rows, columns in shapes)
  found = np.flatnonzero(tokens == image_pad) if image_pad is not None else np.zeros(0, np.int64)
  if len(found) != wanted:
    raise DataError(
      f'The prompt has {len(found)} image tokens and its {len(grids)} pictures have {wanted} features; '
      'expand each picture into as many image tokens as it has features.'
    )
  pieces, index, place, taken = [], 0, 0, 0
  for rows, columns in shapes:
    start = int(found[taken])
    taken += rows * columns
    if found[taken - 1] != start + rows * columns - 1:
      raise DataError(
        f'The {rows * columns} image tokens of a picture do not stand together from token {start} on; '
        'keep the image tokens of a picture in one run.'
      )
    pieces.append(np.broadcast_to(place + np.arange(start - index), (3, start - index)))
    place += start - index
    pieces.append(place + _picture(rows, columns))
    place += max(rows, columns)
    index = start + rows * columns
  rest = len(tokens) - index
  pieces.append(np.broadcast_to(place + np.arange(rest), (3, rest)))
  return np.concatenate(pieces, axis=1).astype(np.int32), place + rest - len(tokens)


def _picture(rows: int, columns: int) -> np.ndarray:
  """[3, rows·columns] (time, row, column), row by row."""
  row, column = np.divmod(np.arange(rows * columns), columns)
  return np.stack([np.zeros_like(row), row, column])
