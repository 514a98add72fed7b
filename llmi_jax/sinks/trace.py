"""A run's timeline in Chrome's trace format, which ui.perfetto.dev opens: a lane per kind of work.

A file holds a hundred steps, one event a line; the list's end is left open, as the format allows, so that a
killed run's file can be read.
"""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmi_jax.sinks.sink import Shown, Span

STEPS = 100  # per file
_OPEN = '[\n'


class Trace:
  """A folder of trace files."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._lanes: dict[str, int] = {}

  def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
    """Not for a trace."""

  def samples(self, step: int, shown: Sequence[Shown]) -> None:
    """Not for a trace."""

  def spans(self, step: int, spans: Sequence[Span]) -> None:
    path = self._path(step)
    self._folder.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    if new:
      self._lanes = {}
    with open(path, 'a', encoding='utf-8') as file:
      file.write(_OPEN if new else '')
      file.writelines(f'{json.dumps(event)},\n' for event in events(step, spans, self._lanes))

  def go_back(self, step: int) -> None:
    self._lanes = {}
    for path in self._folder.glob('steps=*.json'):
      first = int(re.findall(r'\d+', path.name)[0])
      if first > step:
        path.unlink()
      elif first + STEPS > step + 1:
        kept = [event for event in read(path) if event['args'].get('step', 0) <= step]
        path.write_text(_OPEN + ''.join(f'{json.dumps(event)},\n' for event in kept))

  def close(self) -> None:
    """Nothing is open."""

  def _path(self, step: int) -> pathlib.Path:
    first = (step - 1) // STEPS * STEPS + 1
    return self._folder / f'steps={first:06d}-{first + STEPS - 1:06d}.json'


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """The events of a file, whole lines only."""
  lines = path.read_text(encoding='utf-8').split('\n')[1:-1]
  return [json.loads(line.removesuffix(',')) for line in lines if line.endswith(',')]


def events(step: int, spans: Sequence[Span], lanes: dict[str, int]) -> Iterator[dict[str, Any]]:
  """Trace events; what overlaps within a lane goes to further rows of it.

  Args:
    step: of training.
    spans: of the step, in any order.
    lanes: row → number; further ones are added, and named by an event.
  """
  reach: dict[str, float] = {}
  for span in sorted(spans, key=lambda span: (span.lane, span.started)):
    number = 1
    while reach.get(row := f'{span.lane} {number}', 0.0) > span.started:
      number += 1
    reach[row] = span.ended
    if row not in lanes:
      lanes[row] = len(lanes) + 1
      yield _named('thread_name', lanes[row], span.lane)
      yield _named('thread_sort_index', lanes[row], lanes[row], 'sort_index')
    about = {'step': step} | ({'rollout': span.id} if span.id else {})
    start, length = round(span.started * 1e6), max(1, round((span.ended - span.started) * 1e6))
    yield {
      'ph': 'X',
      'name': span.name,
      'cat': span.lane,
      'pid': 1,
      'tid': lanes[row],
      'ts': start,
      'dur': length,
      'args': about,
    }


def _named(what: str, lane: int, value: str | int, key: str = 'name') -> dict[str, Any]:
  return {'ph': 'M', 'name': what, 'pid': 1, 'tid': lane, 'args': {key: value}}
