"""Where a step's seconds went, by kind, as wall time: overlapping calls of one kind count once.

The device's kinds are `view`, `prefill`, `decode` and `update`, one after the other; `idle` is what they
leave of a step. `tools` and `judge` run beside them; together they are `reward`. `logp` is part of `update`.
"""

import contextlib
import time
from collections.abc import Iterator

from llmi_jax.sinks.sink import Span

DEVICE = ('view', 'prefill', 'decode', 'update')


class Timeline:
  """Intervals by kind, in seconds since the step began, and what was done for which rollout."""

  def __init__(self):
    self._origin, self._epoch = time.perf_counter(), time.time()
    self._intervals: dict[str, list[tuple[float, float]]] = {}
    self._calls: list[Span] = []

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

  def call(self, lane: str, name: str, started: float, ended: float, id: str) -> None:
    """Notes a call for a rollout, in seconds since the epoch; a reply kept from before is left out."""
    if self._epoch <= started <= ended:
      self._calls.append(Span(lane, name, started, ended, id))

  def epoch(self, seconds: float) -> float:
    """Seconds since the step began → since the epoch."""
    return self._epoch + seconds

  def spans(self) -> list[Span]:
    """What the device did, and every call."""
    device = [
      Span('device' if kind in DEVICE else kind, kind, self.epoch(started), self.epoch(ended))
      for kind in (*DEVICE, 'logp')
      for started, ended in self._intervals.get(kind, ())
    ]
    return [*device, *self._calls]

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
    told |= {'logp': self.seconds('logp'), 'reward': self.seconds('tools', 'judge')}
    told |= {'idle': whole - self.seconds(*DEVICE), 'step': whole}
    return {f'time/{kind}': seconds for kind, seconds in told.items()}

  def intervals(self) -> dict[str, tuple[tuple[float, float], ...]]:
    """Everything recorded, by kind."""
    return {kind: tuple(spans) for kind, spans in self._intervals.items()}
