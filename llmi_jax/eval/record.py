"""What all benchmarks share: a record, what is wrong with one, and what judging made of it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Task
from llmi_jax.eval.calls import Call, Said
from llmi_jax.eval.table import Table

Mode = Literal['repo', 'fixed']


@dataclasses.dataclass(frozen=True)
class Fault:
  """Something wrong in a file; the rest is scored all the same.

  Attributes:
    where: `file:line`, or a file.
    words: what is wrong, for people.
  """

  where: str
  words: str

  def __str__(self) -> str:
    return f'{self.where}: {self.words}'


@dataclasses.dataclass(frozen=True)
class Record:
  """One item of a benchmark.

  Attributes:
    task: what is asked; its payload is the benchmark's own row.
    where: `file:line`.
    group: the category that tables put it into; empty for one that the mode has no place for.
    faults: what is wrong with it although it is scored.
  """

  task: Task
  where: str
  group: str = ''
  faults: tuple[Fault, ...] = ()

  @property
  def id(self) -> str:
    return self.task.id


@dataclasses.dataclass(frozen=True)
class Answered:
  """What is judged about a record.

  Attributes:
    answers: one, or both sides of a comparison; None for an answer that is not there.
    faults: what is wrong with them.
    lost: why there is no answer, where that is the environment's doing.
  """

  answers: tuple[Answer | None, ...]
  faults: tuple[Fault, ...] = ()
  lost: str = ''

  @property
  def answer(self) -> Answer | None:
    return self.answers[0]


@dataclasses.dataclass(frozen=True)
class Value:
  """One figure of one item.

  Attributes:
    name: such as `Correctness` or `structure`.
    value: None where it is missing or does not apply.
    kind: `scored`; `floored`, put there by a rule because nothing was judged; `missing`, the environment
      failed; `absent`, it does not apply.
    note: why, for people.
  """

  name: str
  value: float | None
  kind: Literal['scored', 'floored', 'missing', 'absent'] = 'scored'
  note: str = ''


@dataclasses.dataclass(frozen=True)
class Judged:
  """What became of one item.

  Attributes:
    id: of its record.
    group: of its record.
    values: its figures.
    said: what judges replied, call by call.
    row: its row in the benchmark's own results file, JSON-able.
    faults: what was wrong with record and answers.
    answered: whether there was an answer.
    lost: why nothing can be said about it, where the environment kept it from being answered; such an item
      stands in no figure.
  """

  id: str
  group: str
  values: tuple[Value, ...]
  said: tuple[Said, ...] = ()
  row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  faults: tuple[Fault, ...] = ()
  answered: bool = True
  lost: str = ''

  def __getitem__(self, name: str) -> Value:
    return next(value for value in self.values if value.name == name)


class Benchmark(Protocol):
  """One benchmark in one mode. `plan` and `score` are functions of their arguments alone."""

  @property
  def name(self) -> str: ...

  @property
  def mode(self) -> Mode: ...

  @property
  def apart(self) -> bool:
    """Whether every item has an HTML file of its own besides."""
    ...

  def records(self) -> Iterator[Record | Fault]:
    """Its items in the file's order, one at a time."""
    ...

  def plan(self, record: Record, answered: Answered) -> tuple[Call, ...]:
    """What judges are asked about an item."""
    ...

  async def score(self, record: Record, answered: Answered, said: Mapping[str, Said]) -> Judged:
    """What their replies make of it, by name of the call."""
    ...

  def save(self, folder: Path, record: Record, answer: Answer) -> None:
    """Writes a generated answer in the benchmark's own form."""
    ...

  def finish(self, folder: Path, items: Iterable[Judged]) -> None:
    """Writes the benchmark's own results file."""
    ...

  def tables(self, items: Iterable[Judged]) -> list[Table]:
    """Aggregates, without facts about the run."""
    ...
