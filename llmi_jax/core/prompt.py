"""What the model reads: integers and arrays, no text."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Vision:
  """One distinct picture, cut into patches for a vision tower.

  Attributes:
    sha256: the picture's identity; equal pictures share one `Vision`.
    patches: [n, d] float32, unit by unit: the merge×merge patches of what becomes one image token lie
      together, units run row by row, patches in a unit too.
    grid: (1, h, w) in patches; n = h·w.
    tokens: how many image tokens stand for it, n / merge².
  """

  sha256: str
  patches: np.ndarray
  grid: tuple[int, int, int]
  tokens: int


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
