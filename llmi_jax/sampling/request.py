"""What is asked of an engine and what it gives back."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import jax
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
  """Samples wanted of one prompt.

  Attributes:
    id: the caller's name for it.
    tokens: [T] int32.
    keys: [n] row keys, one sample each.
    limit: most tokens per response, one number or one per sample.
    positions: [3, T] int32 where a prompt with pictures has its own.
    next: position of a response's first token; T if None.
    features: [F, D] of the prompt's pictures, on the device.
    rows: [T] int32, an image token's row of the features, else -1.
    stop: tokens so far → how many of them to keep if the response ends there, else None; for stop strings.
  """

  id: Hashable
  tokens: np.ndarray
  keys: jax.Array
  limit: int | Sequence[int]
  positions: np.ndarray | None = None
  next: int | None = None
  features: jax.Array | None = None
  rows: np.ndarray | None = None
  stop: Callable[[np.ndarray], int | None] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """One finished response; arrays are [T].

  Attributes:
    id: the request's.
    sample: index within the request.
    finish: `stop` or `length`.
  """

  id: Hashable
  sample: int
  tokens: np.ndarray
  logp_sampled: np.ndarray
  logp_full: np.ndarray
  finish: Literal['stop', 'length']


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """Tokens that a response grew by in one step, and it goes on."""

  id: Hashable
  sample: int
  tokens: np.ndarray
