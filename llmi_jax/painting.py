"""The built-in painter at work: what tools ask for is gathered while the device is busy, and painted."""

import asyncio
import collections
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from llmi_jax import compilation
from llmi_jax.painter import flow, words
from llmi_jax.rollout.device import Device
from llmi_jax.weights import painter as weights

FOLDER = pathlib.Path(__file__).parent / 'assets' / 'painter'


class _Wish(NamedTuple):
  caption: str
  seed: int
  done: asyncio.Future[np.ndarray]


class Painting:
  """Paints on the device thread, between the pieces of other work.

  Every program has the same number of rows, empty ones included, so a picture depends on its caption and seed
  and not on what else was asked for.

  Attributes:
    identity: of the model, for caches.
  """

  def __init__(self, device: Device, folder: pathlib.Path = FOLDER, batch: int = 1):
    """Loads the model.

    Args:
      device: where it runs.
      folder: of its weights.
      batch: pictures per program; 1 is best on CPU.

    Raises:
      WeightsError: the weights are missing or broken.
    """
    loaded = weights.load(folder)
    self.identity = f'painter {loaded.digest[:16]}'
    self._device = device
    self._vocabulary = loaded.vocabulary
    self._batch = batch

    def paint(params: Any, captions: Array, seeds: Array) -> Array:
      return flow.paint(params, loaded.shape, captions, seeds)

    self._program = compilation.jit('paint', paint)
    self._params = loaded.params
    self._wishes: collections.deque[_Wish] = collections.deque()

  def knows(self, caption: str) -> bool:
    """Whether the caption has a word that the painter knows."""
    return bool(words.ids(caption, self._vocabulary))

  async def paint(self, caption: str, seed: int) -> np.ndarray:
    """One picture, uint8 [64, 64, 3]; `seed` is in [0, 2³²)."""
    done: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
    self._wishes.append(_Wish(caption, seed, done))
    # All who ask while the device is busy are served by the first of these.
    await self._device.run(self._serve)
    return await done

  def _serve(self) -> None:
    """Paints everything that has been asked for so far; runs on the device thread."""
    while self._wishes:
      some = [self._wishes.popleft() for _ in range(min(self._batch, len(self._wishes)))]
      try:
        pictures: Sequence[np.ndarray] = self._run(some)
      except Exception as error:  # noqa: BLE001  (told to each who waits)
        for wish in some:
          _tell(wish, error)
      else:
        for wish, picture in zip(some, pictures):
          _tell(wish, picture)

  def _run(self, wishes: Sequence[_Wish]) -> Sequence[np.ndarray]:
    empty = self._batch - len(wishes)
    captions = words.encode([*(wish.caption for wish in wishes), *[''] * empty], self._vocabulary)
    seeds = np.array([*(wish.seed for wish in wishes), *[0] * empty], np.uint32)
    return list(np.asarray(self._program(self._params, captions, seeds)))[: len(wishes)]


def _tell(wish: _Wish, result: np.ndarray | Exception) -> None:
  """Hands a result to the event loop of whoever asked, unless that one has left."""

  def settle() -> None:
    if wish.done.done():
      return
    if isinstance(result, Exception):
      wish.done.set_exception(result)
    else:
      wish.done.set_result(result)

  wish.done.get_loop().call_soon_threadsafe(settle)
