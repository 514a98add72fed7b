"""A circuit breaker: a provider that keeps failing is left alone for a while, then tried by one call."""

import time
from collections.abc import Callable
from typing import Literal

from llmi_jax.services.faults import ServiceFault

State = Literal['closed', 'open', 'half_open']
# Faults that say something about the provider's health.
_TELLING = ('deadline', 'connection', 'server', 'garbage')


class Breaker:
  """Counts failures in a row.

  Attributes:
    trips: how often it has opened.
  """

  def __init__(
    self,
    failures: int = 8,
    seconds: float = 5.0,
    longest: float = 120.0,
    now: Callable[[], float] = time.monotonic,
  ):
    """Makes a closed one.

    Args:
      failures: in a row, before it opens.
      seconds: it stays open at first; doubled each time the trial fails.
      longest: it ever stays open.
      now: the clock.
    """
    self.trips = 0
    self._failures, self._seconds, self._longest, self._now = failures, seconds, longest, now
    self._row = 0
    self._opened: float | None = None
    self._pause = seconds
    self._trial = False

  @property
  def state(self) -> State:
    """`half_open`: the pause is over and one call may try."""
    if self._opened is None:
      return 'closed'
    return 'half_open' if self.remaining <= 0 else 'open'

  @property
  def remaining(self) -> float:
    """Seconds until a call may be tried; 0 where one may."""
    return 0.0 if self._opened is None else max(0.0, self._opened + self._pause - self._now())

  def admits(self) -> bool:
    """Whether a call may go out now."""
    return self.state == 'closed' or (self.state == 'half_open' and not self._trial)

  def enter(self) -> None:
    """Says that a call goes out."""
    self._trial = self._opened is not None

  def leave(self, fault: ServiceFault | None = None) -> None:
    """Says how the call ended; `None` is success."""
    trial, self._trial = self._trial, False
    if fault is None or fault.cause not in _TELLING:
      self._row, self._opened, self._pause = 0, None, self._seconds
      return
    self._row += 1
    if trial and self._opened is not None:
      self._pause = min(self._longest, 2 * self._pause)
      self.trip()
    elif self._opened is None and self._row >= self._failures:
      self.trip()

  def abandon(self) -> None:
    """Says that the call was cancelled, which tells nothing."""
    self._trial = False

  def trip(self) -> None:
    """Opens it."""
    self.trips += 1
    self._opened = self._now()
