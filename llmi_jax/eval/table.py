"""Tables as values, and as Markdown and CSV. Every figure carries its counts and its interval."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

from llmi_jax.eval.numbers import Estimate, ratio

ALL = 'all'


@dataclasses.dataclass(frozen=True)
class Figure:
  """One cell.

  Attributes:
    row: such as a category, or `all`.
    column: such as a criterion.
    value: as the benchmark defines it; None where there is none.
    n: items that it is made of, floor-filled ones included.
    missing: items that it should have been made of and that the environment lost.
    floored: items that a rule gave the lowest score because nothing was judged.
    low: end of the 95 % bootstrap interval.
    high: the other end.
    digits: after the point.
  """

  row: str
  column: str
  value: float | None
  n: int
  missing: int = 0
  floored: int = 0
  low: float | None = None
  high: float | None = None
  digits: int = 3

  @property
  def shown(self) -> str:
    return _number(self.value, self.digits)

  @property
  def interval(self) -> str:
    if self.low is None or self.high is None:
      return '–'
    return f'{self.low:.{self.digits}f} to {self.high:.{self.digits}f}'


@dataclasses.dataclass(frozen=True)
class Table:
  """Figures of one run of one benchmark in one mode.

  Attributes:
    title: its heading.
    figures: its cells.
    notes: sentences below it.
    facts: about the run: name and value.
  """

  title: str
  figures: tuple[Figure, ...]
  notes: tuple[str, ...] = ()
  facts: tuple[tuple[str, str], ...] = ()

  @property
  def rows(self) -> list[str]:
    return list(dict.fromkeys(figure.row for figure in self.figures))

  @property
  def columns(self) -> list[str]:
    return list(dict.fromkeys(figure.column for figure in self.figures))

  def at(self, row: str, column: str) -> Figure | None:
    """A cell; None where there is none."""
    return next((f for f in self.figures if (f.row, f.column) == (row, column)), None)


class Column:
  """Collects one figure of many items, by row."""

  def __init__(self, name: str, digits: int = 3):
    self.name, self._digits = name, digits
    self._values: dict[str, list[float]] = {}
    self._missing: dict[str, int] = {}
    self._floored: dict[str, int] = {}

  def add(self, row: str, value: Any) -> None:
    """Takes a `record.Value` for one row of the table."""
    self._values.setdefault(row, [])
    if value.kind == 'missing':
      self._missing[row] = self._missing.get(row, 0) + 1
    if value.kind == 'floored':
      self._floored[row] = self._floored.get(row, 0) + 1
    if value.value is not None:
      self._values[row].append(value.value)

  @property
  def rows(self) -> list[str]:
    return list(self._values)

  def mean(self, row: str, named: str | None = None) -> Figure:
    """The mean of a row."""
    return self._figure(named or row, [row], ratio([self._values.get(row, [])]))

  def mean_of_means(self, rows: Sequence[str], named: str) -> Figure:
    """The unweighted mean of rows' means."""
    return self._figure(named, rows, ratio([self._values.get(row, []) for row in rows]))

  def _figure(self, named: str, rows: Sequence[str], found: Estimate) -> Figure:
    missing = sum(self._missing.get(row, 0) for row in rows)
    floored = sum(self._floored.get(row, 0) for row in rows)
    return Figure(
      named, self.name, found.value, found.n, missing, floored, found.low, found.high, self._digits
    )


def markdown(tables: Iterable[Table]) -> str:
  """Tables for people: a matrix, every figure with counts and interval, and what it was made with."""
  return '\n'.join(line for table in tables for line in _markdown(table)) + '\n'


def _markdown(table: Table) -> list[str]:
  lines = [f'## {table.title}', '', *_grid(['', *table.columns], _matrix(table)), '']
  head = ['row', 'figure', 'value', '95 % interval', 'n', 'missing', 'floor-filled']
  body = [
    [f.row, f.column, f.shown, f.interval, str(f.n), str(f.missing), str(f.floored)] for f in table.figures
  ]
  lines += [*_grid(head, body), '']
  lines += [*(f'- {note}' for note in table.notes), ''] if table.notes else []
  return lines + ([*_grid(['made with', ''], [list(f) for f in table.facts]), ''] if table.facts else [])


def _matrix(table: Table) -> list[list[str]]:
  found = [(row, [table.at(row, column) for column in table.columns]) for row in table.rows]
  return [[row, *(cell.shown if cell else '' for cell in cells)] for row, cells in found]


def _grid(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
  line = lambda cells: '| ' + ' | '.join(_cell(cell) for cell in cells) + ' |'
  return [line(head), '|' + '---|' * len(head), *map(line, body)]


def _cell(text: str) -> str:
  return ' '.join(text.split()).replace('|', '\\|').replace('<', '&lt;')


def comma_separated(tables: Iterable[Table]) -> str:
  """The same for programs: one line per figure, facts as further columns."""
  tables = list(tables)
  facts = list(dict.fromkeys(name for table in tables for name, _ in table.facts))
  names = ['table', 'row', 'figure', 'value', 'low', 'high', 'n', 'missing', 'floor_filled', *facts]
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(names)
  for table in tables:
    known = dict(table.facts)
    for f in table.figures:
      numbers = ['' if x is None else repr(x) for x in (f.value, f.low, f.high)]
      cells = [table.title, f.row, f.column, *numbers, f.n, f.missing, f.floored]
      writer.writerow([*map(_harmless, map(str, cells)), *(_harmless(known.get(name, '')) for name in facts)])
  return buffer.getvalue()


def _harmless(text: str) -> str:
  """No spreadsheet takes it for a formula."""
  return "'" + text if text[:1] in ('=', '+', '@', '\t') else text


def _number(value: float | None, digits: int) -> str:
  return '–' if value is None else f'{value:.{digits}f}'
