"""What a sink is told, and the sinks of a run together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Shown(NamedTuple):
  """A sample, for people.

  Attributes:
    id: the rollout's.
    text: request, response and reward, as plain text; the model wrote part of it.
    pictures: PNG bytes, width and height.
  """

  id: str
  text: str
  pictures: tuple[tuple[bytes, int, int], ...] = ()


class Span(NamedTuple):
  """Something that took time.

  Attributes:
    lane: such as `device`, `tool search` or `judge llm`; what overlaps in one is drawn side by side.
    name: what was done.
    started: seconds since the epoch.
    ended: likewise.
    id: of the rollout that it belongs to, if it is one.
  """

  lane: str
  name: str
  started: float
  ended: float
  id: str = ''


class Sink(Protocol):
  """A view of a run; whatever it raises shuts it."""

  def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
    """A step's numbers; None where there is none."""

  def samples(self, step: int, shown: Sequence[Shown]) -> None:
    """Some of a step's samples."""

  def spans(self, step: int, spans: Sequence[Span]) -> None:
    """Where a step's seconds went."""

  def go_back(self, step: int) -> None:
    """What it was told of later steps is void: they come again."""

  def close(self) -> None:
    """Nothing more comes."""


class Sinks:
  """All sinks of a run, by name."""

  def __init__(self, sinks: Mapping[str, Callable[[], Sink]] | None = None):
    """Opens them; each is opened where the first failure can be told as any later one."""
    self._sinks: dict[str, Sink] = {}
    for name, make in (sinks or {}).items():
      self._try(name, lambda name=name, make=make: self._sinks.update({name: make()}))

  def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
    self._all(lambda sink: sink.scalars(step, values))

  def samples(self, step: int, shown: Sequence[Shown]) -> None:
    self._all(lambda sink: sink.samples(step, shown))

  def spans(self, step: int, spans: Sequence[Span]) -> None:
    self._all(lambda sink: sink.spans(step, spans))

  def go_back(self, step: int) -> None:
    self._all(lambda sink: sink.go_back(step))

  def close(self) -> None:
    self._all(lambda sink: sink.close())
    self._sinks.clear()

  def _all(self, tell: Callable[[Sink], Any]) -> None:
    for name, sink in list(self._sinks.items()):
      self._try(name, lambda sink=sink: tell(sink))

  def _try(self, name: str, work: Callable[[], Any]) -> None:
    try:
      work()
    except Exception as error:  # noqa: BLE001  a view of a run must never end it
      self._sinks.pop(name, None)
      words = (str(error).splitlines() or [''])[0][:200]
      logging.getLogger(__name__).warning(
        'The sink %s is told nothing more (%s: %s); the run goes on.', name, type(error).__name__, words
      )
