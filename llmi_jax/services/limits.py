"""How much of a service may be used at once, and until when."""

import asyncio
import collections
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator

from llmi_jax.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Limit:
  """What one service is asked to bear.

  Attributes:
    concurrency: calls that run at once; others wait in order of arrival.
    seconds: how long a call may take from the moment it gets its place.
    per_minute: calls that start within any minute; 0 for no limit.
  """

  concurrency: int = 8
  seconds: float = 60.0
  per_minute: int = 0

  def __post_init__(self):
    if self.concurrency < 1:
      raise ConfigError(f'concurrency is {self.concurrency}; set it to 1 or more.')
    if not self.seconds > 0:
      raise ConfigError(f'seconds is {self.seconds}; set a deadline above 0.')
    if self.per_minute < 0:
      raise ConfigError(f'per_minute is {self.per_minute}; set it to 0 (no limit) or more.')

  def share(self, processes: int) -> 'Limit':
    """What one of several processes may use of it, rounded down but never to nothing."""
    return dataclasses.replace(
      self,
      concurrency=max(1, self.concurrency // processes),
      per_minute=max(1, self.per_minute // processes) if self.per_minute else 0,
    )


class Overdue(Exception):
  """The gate's own deadline passed; a TimeoutError from inside is left as it is."""


class Rate:
  """Lets at most `count` through within any `seconds`; others wait in order of arrival."""

  def __init__(self, count: int, seconds: float = 60.0):
    """`count` 0 lets everybody through."""
    self._count = count
    self._seconds = seconds
    self._starts: collections.deque[float] = collections.deque(maxlen=count)
    self._turn = asyncio.Lock()

  async def permit(self) -> None:
    """Waits until one more may start."""
    if not self._count:
      return
    async with self._turn:
      if len(self._starts) == self._count:
        await asyncio.sleep(max(0.0, self._starts[0] + self._seconds - time.monotonic()))
      self._starts.append(time.monotonic())


class Gate:
  """Lets at most `limit.concurrency` calls through and ends each at its deadline.

  Deadlines are absolute readings of `time.monotonic`, so that whatever runs inside can pass them on. A call
  that is made more than once inside asks `rate` before each further time.
  """

  def __init__(self, limit: Limit):
    self.limit = limit
    self.rate = Rate(limit.per_minute)
    self._places = asyncio.Semaphore(limit.concurrency)

  @contextlib.asynccontextmanager
  async def enter(self, until: float = float('inf')) -> AsyncIterator[float]:
    """Waits for a place and its turn, and yields the deadline; raises `Overdue` once it has passed.

    Args:
      until: a deadline of the caller's own, which also bounds the waiting.
    """
    async with deadline(until), self._places:
      await self.rate.permit()
      end = min(until, time.monotonic() + self.limit.seconds)
      async with deadline(end):
        yield end


@contextlib.asynccontextmanager
async def deadline(end: float) -> AsyncIterator[None]:
  """Cancels what runs inside at `end`, a reading of `time.monotonic`, and raises `Overdue`."""
  loop = asyncio.get_running_loop()
  when = None if end == float('inf') else loop.time() + end - time.monotonic()
  scope = asyncio.timeout_at(when)
  try:
    async with scope:
      yield
  except TimeoutError as error:
    if scope.expired():
      raise Overdue from error
    raise
