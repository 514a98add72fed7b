"""A run's steps on the screen: a line each, the rate, and the time left."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from llmi_jax.terminal import line
from llmi_jax.terminal.screen import WIDTH, Screen

_RECENT = 50  # steps that the time left is reckoned from


class Progress:
  """Tells of finished steps.

  Steps in which something was compiled say nothing of those to come and leave rate and time left alone. Off a
  terminal, lines come at most every `every` seconds, the first and the last always.
  """

  def __init__(
    self,
    screen: Screen,
    total: int,
    start: int = 0,
    past: Sequence[Mapping[str, Any]] = (),
    every: float = 5.0,
    kl: bool = True,
  ):
    """Makes one.

    Args:
      screen: where it is told.
      total: steps.
      start: of them already done, as after a resume.
      past: metrics of those; the time left is reckoned from them, too.
      every: seconds between two lines off a terminal.
      kl: whether the run compares its policy with another.
    """
    self._screen, self._total, self._first = screen, total, start
    self._every, self._kl = every, kl
    self._spoke = -float('inf')
    self._seconds = [s for s in map(_steady, past) if s is not None][-_RECENT:]

  def update(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Tells of a finished step, `step` being how many are done; `scalars` are those of `metrics.jsonl`."""
    if (seconds := _steady(scalars)) is not None:
      self._seconds = [*self._seconds, seconds][-_RECENT:]
    now = time.monotonic()
    begins = step - self._first == 1
    if self._screen.redraws or begins or step >= self._total or now - self._spoke >= self._every:
      self._spoke = now
      if begins:
        self._legend()
      self._screen.say(line.line(step, self._total, scalars, self.left(step), self._kl))

  def left(self, step: int) -> float | None:
    """Seconds to the end after so many steps; None while every step compiled."""
    if step >= self._total:
      return 0.0
    return statistics.fmean(self._seconds) * (self._total - step) if self._seconds else None

  def status(self, text: str) -> None:
    """What is done now, below the lines of a terminal."""
    self._screen.status(text[:WIDTH])

  def _legend(self) -> None:
    self._screen.say(f'Columns: {line.HEAD}')


def _steady(scalars: Mapping[str, Any]) -> float | None:
  """Seconds of a step that compiled nothing."""
  return None if scalars.get('time/compile') else line.number(scalars.get('time/step'))
