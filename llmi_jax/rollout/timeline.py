"""Where a step's seconds went, by kind, as wall time: overlapping calls of one kind count once.

The device's kinds are `view`, `prefill`, `decode` and `update`, one after the other; `idle` is what they
leave of a step. `tools` and `judge` run beside them.
"""

import contextlib
import time
from collections.abc import Iterator

DEVICE = ('view', 'prefill', 'decode', 'update')


class Timeline:
  """Intervals by kind, in seconds since the step began."""

  def __init__(self):
    self._origin = time.perf_counter()
    self._intervals: dict[str, list[tuple[float, float]]] = {}

  def now(self) -> float:
    return time.perf_counter() - self._origin

  @contextlib.contextmanager
  def span(self, kind: str) -> Iterator[None]:
    """Records the time inside as one interval of `kind`."""
    started = self.now()
    try:
      yield
    finally:
      self.add(kind, started, self.now())

  def add(self, kind: str, started: float, ended: float) -> None:
    self._intervals.setdefault(kind, []).append((started, ended))

  def seconds(self, *kinds: str) -> float:
    """Length of the union of the kinds' intervals."""
    total, reach = 0.0, 0.0
    for started, ended in sorted(span for kind in kinds for span in self._intervals.get(kind, ())):
      total += max(0.0, ended - max(started, reach))
      reach = max(reach, ended)
    return total

  def scalars(self) -> dict[str, float]:
    """Seconds so far, of everything that a line of metrics tells."""
    whole = self.now()
    told = {kind: self.seconds(kind) for kind in (*DEVICE, 'tools', 'judge')}
    told |= {'idle': whole - self.seconds(*DEVICE), 'step': whole}
    return {f'time/{kind}': seconds for kind, seconds in told.items()}

  def intervals(self) -> dict[str, tuple[tuple[float, float], ...]]:
    """Everything recorded, by kind."""
    return {kind: tuple(spans) for kind, spans in self._intervals.items()}
