"""Equal work that runs at the same time is done once."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar('T')


@dataclasses.dataclass
class _Flight(Generic[T]):
  work: asyncio.Task[T]
  waiting: int = 0


class Flights(Generic[T]):
  """Work under way, by key. The work is cancelled when the last one waiting for it is."""

  def __init__(self):
    self._flights: dict[Hashable, _Flight[T]] = {}

  async def share(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
    """Joins the work under way for `key`, or starts it."""
    flight = self._flights.get(key)
    if flight is None:
      flight = _Flight(asyncio.ensure_future(_run(work)))
      self._flights[key] = flight
      flight.work.add_done_callback(lambda _: self._forget(key, flight))
    flight.waiting += 1
    try:
      return await asyncio.shield(flight.work)
    finally:
      flight.waiting -= 1
      if not flight.waiting and not flight.work.done():
        self._forget(key, flight)  # a newcomer must not join what is being cancelled
        flight.work.cancel()
        await asyncio.wait([flight.work])

  def _forget(self, key: Hashable, flight: _Flight[T]):
    if self._flights.get(key) is flight:
      del self._flights[key]


async def _run(work: Callable[[], Awaitable[T]]) -> T:
  return await work()
