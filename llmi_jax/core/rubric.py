"""The small form of `Task.rubric` that programs can check; makers of tasks write it, offline judges read it.

    mentions: a tabby cat
    shows: a tabby cat
    plots: 3, 5, 8, 6 as line of lemonade sales
    edits: turn it grey on 0 of a tabby cat
    paints: a red house by the sea

`shows`, `plots`, `edits` and `paints` each stand for one wanted picture, in order. Any other wording is a
criterion for people and language models alone.
"""

import dataclasses
import re
from collections.abc import Iterable

KINDS = ('line', 'bar', 'pie', 'hist')

_PLOTS = re.compile(r'(?P<values>-?\d+(?:\.\d+)?(?:, -?\d+(?:\.\d+)?)*) as (?P<kind>\w+) of (?P<what>.+)')
_EDITS = re.compile(r'(?P<change>.+?) on (?P<index>\d{1,4}) of (?P<what>.+)')


@dataclasses.dataclass(frozen=True)
class Mentions:
  """The text speaks of `what`."""

  what: str

  def __str__(self) -> str:
    return f'mentions: {self.what}'


@dataclasses.dataclass(frozen=True)
class Shows:
  """A photograph of `what`."""

  what: str

  def __str__(self) -> str:
    return f'shows: {self.what}'


@dataclasses.dataclass(frozen=True)
class Plots:
  """A chart of `values`, in order, drawn as `kind` (one of `KINDS`); `what` names the series."""

  values: tuple[float, ...]
  kind: str
  what: str

  def __str__(self) -> str:
    return f'plots: {numbers(self.values)} as {self.kind} of {self.what}'


@dataclasses.dataclass(frozen=True)
class Edits:
  """The picture at position `index`, which shows `what`, changed as `change` says."""

  change: str
  index: int
  what: str

  def __str__(self) -> str:
    return f'edits: {self.change} on {self.index} of {self.what}'


@dataclasses.dataclass(frozen=True)
class Paints:
  """A painted picture of `what`."""

  what: str

  def __str__(self) -> str:
    return f'paints: {self.what}'


Criterion = Mentions | Shows | Plots | Edits | Paints


def numbers(values: Iterable[float]) -> str:
  """Values as requests and rubrics write them: `3, 5, 8.5`."""
  return ', '.join(f'{v:g}' for v in values)


def parse(line: str) -> Criterion | None:
  """Reads one criterion; None where it is not of this form."""
  name, _, rest = line.partition(': ')
  rest = rest.strip()
  if not rest:
    return None
  if name == 'mentions':
    return Mentions(rest)
  if name == 'shows':
    return Shows(rest)
  if name == 'paints':
    return Paints(rest)
  if name == 'plots' and (found := _PLOTS.fullmatch(rest)) and found['kind'] in KINDS:
    return Plots(tuple(float(v) for v in found['values'].split(', ')), found['kind'], found['what'])
  if name == 'edits' and (found := _EDITS.fullmatch(rest)):
    return Edits(found['change'], int(found['index']), found['what'])
  return None


def criteria(rubric: Iterable[str]) -> tuple[Criterion, ...]:
  """The criteria that can be checked, in order."""
  return tuple(c for c in map(parse, rubric) if c is not None)
