"""Trying again, in one layer: exponential backoff with full jitter, under a deadline and a budget.

Nothing else retries: neither the HTTP client nor a tool or judge on top. The budget bounds what a brown-out
adds to the load: over time, at most `budget` retries per call.
"""

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from llmi_jax.core.errors import ConfigError
from llmi_jax.services.faults import ServiceFault

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Retry:
  """How calls are repeated.

  Attributes:
    attempts: most tries of one call.
    base: seconds; the wait before try n + 1 is uniform in [0, min(cap, base·2ⁿ⁻¹)], or what the service asks.
    cap: longest drawn wait, in seconds.
    budget: retries per call that are earned over time.
    burst: retries that are there from the start, and the most that can be saved up.
  """

  attempts: int = 4
  base: float = 0.5
  cap: float = 20.0
  budget: float = 0.1
  burst: int = 20

  def __post_init__(self):
    if self.attempts < 1:
      raise ConfigError(f'attempts is {self.attempts}; set it to 1 or more.')
    if min(self.base, self.cap, self.budget, self.burst) < 0:
      raise ConfigError('base, cap, budget and burst of retries must not be negative.')


class Retries:
  """Repeats the calls of one service.

  Attributes:
    made: retries so far.
    denied: retries that the budget did not allow.
  """

  def __init__(
    self,
    policy: Retry = Retry(),
    seed: int = 0,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    now: Callable[[], float] = time.monotonic,
  ):
    """`seed` and a call's key decide its jitter; `sleep` and `now` are there for tests."""
    self.made = self.denied = 0
    self._policy = policy
    self._seed = seed
    self._sleep = sleep
    self._now = now
    self._saved = float(policy.burst)

  async def run(
    self, attempt: Callable[[int], Awaitable[T]], *, key: str = '', until: float = float('inf')
  ) -> T:
    """Awaits `attempt(n)`, n = 1, 2, …, until one succeeds.

    Args:
      attempt: one try; raises `ServiceFault`.
      key: of the call; equal keys draw equal waits.
      until: no wait goes beyond this reading of the clock.

    Raises:
      ServiceFault: the last one, `attempts` set: it is permanent, or tries, time or budget are spent.
    """
    jitter = random.Random(f'{self._seed}/{key}')
    self._saved = min(self._policy.burst, self._saved + self._policy.budget)
    tries = 1
    while True:
      try:
        return await attempt(tries)
      except ServiceFault as fault:
        fault.attempts = tries
        wait = self._wait(fault, tries, jitter)
        if wait is None or self._now() + wait > until:
          raise
        sent = fault.cause != 'breaker'
      if sent:
        tries += 1
        self.made += 1
        self._saved -= 1
      await self._sleep(wait)

  def _wait(self, fault: ServiceFault, tries: int, jitter: random.Random) -> float | None:
    """Seconds to the next try; None if there is to be none."""
    drawn = jitter.uniform(0, min(self._policy.cap, self._policy.base * 2 ** (tries - 1)))
    if fault.cause == 'breaker':
      return (fault.retry_after or 0.0) + drawn
    if not fault.transient or tries >= self._policy.attempts:
      return None
    if self._saved < 1:
      self.denied += 1
      return None
    # Who says when to come back is believed; the jitter keeps all from coming at once.
    return drawn if fault.retry_after is None else fault.retry_after + drawn
