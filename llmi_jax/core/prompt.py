"""What the model reads: integers and arrays, no text."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Vision:
  """One distinct picture, patched for a vision tower.

  Attributes:
    sha256: the picture's identity; equal pictures share one `Vision`.
    patches: [n, d] float32, padded to a bucket.
    count: how many rows of `patches` are real.
    grid: (t, h, w) in patches.
  """

  sha256: str
  patches: np.ndarray
  count: int
  grid: tuple[int, int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
  """A rendered request.

  Attributes:
    tokens: [T] int32, image-pad runs expanded.
    text: what was tokenized, for people.
    vision: distinct pictures.
    images: for every image-pad run in order, the index into `vision`.
  """

  tokens: np.ndarray
  text: str = ''
  vision: tuple[Vision, ...] = ()
  images: tuple[int, ...] = ()
