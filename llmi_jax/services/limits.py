"""How much of a service may be used at once, and until when."""

import asyncio
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
  """

  concurrency: int = 8
  seconds: float = 60.0

  def __post_init__(self):
    if self.concurrency < 1:
      raise ConfigError(f'concurrency is {self.concurrency}; set it to 1 or more.')
    if not self.seconds > 0:
      raise ConfigError(f'seconds is {self.seconds}; set a deadline above 0.')


class Overdue(Exception):
  """The gate's own deadline passed; a TimeoutError from inside is left as it is."""


class Gate:
  """Lets at most `limit.concurrency` calls through and ends each at its deadline.

  Deadlines are absolute readings of `time.monotonic`, so that whatever runs inside can pass them on.
  """

  def __init__(self, limit: Limit):
    self.limit = limit
    self._places = asyncio.Semaphore(limit.concurrency)

  @contextlib.asynccontextmanager
  async def enter(self, until: float = float('inf')) -> AsyncIterator[float]:
    """Waits for a place and yields the deadline; raises `Overdue` once it has passed.

    Args:
      until: a deadline of the caller's own, which also bounds the waiting.
    """
    async with deadline(until), self._places:
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
