"""A circuit breaker: a provider that keeps failing is left alone for a while, then tried by one call."""

import collections
import time
from collections.abc import Callable
from typing import Literal

from llmi_jax.services.faults import ServiceFault

State = Literal['closed', 'open', 'half_open']
# Faults that say something about the provider's health.
_TELLING = ('deadline', 'connection', 'server', 'garbage')


class Breaker:
  """Watches the last calls.

  It opens on a share of failures, not on failures in a row: calls that hang end last, so that the end of
  every batch is a row of failures although the provider is well.

  Attributes:
    trips: how often it has opened.
    row: failures in a row so far, refusals for being busy among them; who chooses among providers may prefer
      those with fewer.
  """

  def __init__(
    self,
    window: int = 40,
    share: float = 0.9,
    seconds: float = 5.0,
    longest: float = 120.0,
    now: Callable[[], float] = time.monotonic,
  ):
    """Makes a closed one.

    Args:
      window: calls that are looked at.
      share: of them that must have failed, before it opens.
      seconds: it stays open at first; doubled each time the trial fails.
      longest: it ever stays open.
      now: the clock.
    """
    self.trips = self.row = 0
    self._share, self._seconds, self._longest, self._now = share, seconds, longest, now
    self._recent: collections.deque[bool] = collections.deque(maxlen=window)
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
    failed = fault is not None and fault.cause in _TELLING
    # Being busy is no illness, but who turns calls away is never busy itself and would be chosen for ever.
    turned_away = fault is not None and fault.cause == 'busy'
    self.row = self.row + 1 if failed or turned_away else 0
    self._recent.append(failed)
    if self._opened is not None:
      if not failed:
        self._opened, self._pause = None, self._seconds
        self._recent.clear()
      elif trial:
        self._pause = min(self._longest, 2 * self._pause)
        self.trip()
    elif len(self._recent) == self._recent.maxlen and sum(self._recent) >= self._share * len(self._recent):
      self.trip()

  def abandon(self) -> None:
    """Says that the call was cancelled, which tells nothing."""
    self._trial = False

  def trip(self) -> None:
    """Opens it."""
    self.trips += 1
    self._opened = self._now()
