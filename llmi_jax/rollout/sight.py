"""A prompt → the engine's request; where it holds pictures, with their features and with positions.

The tower runs once per distinct picture of a prompt, one picture at a time: so it is compiled once per
bucket, and what it makes of a picture depends on nothing beside it.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from llmi_jax import compilation
from llmi_jax.core.errors import DataError
from llmi_jax.core.prompt import Prompt
from llmi_jax.models import mrope, vision_layout
from llmi_jax.models.config import VisionConfig
from llmi_jax.sampling.request import Request


class Eyes(NamedTuple):
  """A policy's vision tower.

  Attributes:
    see: (params, pictures) → features [M·U, D]; see `sampling.state.Model`.
    config: its numbers.
    image_pad: id of image tokens.
  """

  see: Callable[..., Array]
  config: VisionConfig
  image_pad: int


@dataclasses.dataclass
class Counts:
  """What was looked at.

  Attributes:
    prompts: with pictures.
    pictures: that the tower ran over.
    tokens: image tokens of those prompts.
  """

  prompts: int = 0
  pictures: int = 0
  tokens: int = 0


class Sight:
  """Makes requests.

  Attributes:
    counts: so far.
    eyes: the policy's vision tower; None if it only reads.
  """

  def __init__(self, eyes: Eyes | None = None):
    """Compiles nothing yet; without `eyes` the policy only reads."""
    self.counts = Counts()
    self.eyes = eyes
    self._see = compilation.jit('see', eyes.see) if eyes else None

  def check(self, prompt: Prompt) -> None:
    """Refuses what `request` would refuse, and runs no JAX.

    Raises:
      DataError: the policy only reads, a picture is too large for the tower, or prompt and pictures do not
        fit each other.
    """
    if prompt.vision:
      self._buckets(prompt)
      self._positions(prompt)

  def request(self, params: Any, id: Hashable, prompt: Prompt, keys: Array, limit: int) -> Request:
    """A request for samples of a prompt; runs on the device thread.

    Args:
      params: the policy's, as the engine has them.
      id: the caller's name for it.
      prompt: may hold pictures.
      keys: [n] row keys, one sample each.
      limit: most tokens per response.

    Raises:
      DataError: see `check`.
    """
    if not prompt.vision:
      return Request(id, prompt.tokens, keys, limit)
    eyes, buckets = self._buckets(prompt)
    positions, delta = self._positions(prompt)
    units = [slots // eyes.config.merge**2 for slots in buckets]
    first = np.cumsum([0, *units])
    shown = [(int(first[i]), prompt.vision[i].grid) for i in prompt.images]
    rows = np.full(len(prompt.tokens), -1, np.int32)
    rows[prompt.tokens == eyes.image_pad] = vision_layout.token_rows(shown, eyes.config.windows)
    features = self._features(params, prompt, buckets, units)
    self.counts.prompts += 1
    self.counts.pictures += len(prompt.vision)
    self.counts.tokens += int((rows >= 0).sum())
    following = len(prompt.tokens) + delta
    return Request(id, prompt.tokens, keys, limit, positions, following, features, rows)

  def _features(self, params: Any, prompt: Prompt, buckets: list[int], units: list[int]) -> Array:
    """[F, D]; F is the smallest picture's share times a power of two, so that few prefills are compiled."""
    assert self.eyes and self._see
    config = self.eyes.config
    least = min(vision_layout.BUCKETS) // config.merge**2
    total = least << ((sum(units) - 1) // least).bit_length()
    whole, start = None, 0
    for picture, slots, count in zip(prompt.vision, buckets, units):
      laid = vision_layout.arrange([(picture.patches, picture.grid)], config.windows, slots=slots)
      seen = self._see(params, laid)
      whole = jnp.zeros((total, seen.shape[1]), seen.dtype) if whole is None else whole
      whole, start = _put(whole, seen, np.int32(start)), start + count
    assert whole is not None
    return whole

  def _buckets(self, prompt: Prompt) -> tuple[Eyes, list[int]]:
    """The bucket of each distinct picture."""
    if self.eyes is None:
      raise DataError('A prompt holds a picture and the policy only reads; use one with a vision tower.')
    windows = self.eyes.config.windows
    return self.eyes, [vision_layout.bucket(picture.grid, windows) for picture in prompt.vision]

  def _positions(self, prompt: Prompt) -> tuple[np.ndarray, int]:
    assert self.eyes
    grids = [prompt.vision[i].grid for i in prompt.images]
    merge = self.eyes.config.merge
    return mrope.positions(prompt.tokens, grids, image_pad=self.eyes.image_pad, merge=merge)


@functools.partial(jax.jit, donate_argnums=0)
def _put(whole: Array, part: Array, start: Array) -> Array:
  return jax.lax.dynamic_update_slice(whole, part, (start, jnp.zeros_like(start)))
