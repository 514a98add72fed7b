"""What all processes do next, from what each of them has: the same programs in the same order everywhere.

Before each round every process says what it has, in a few numbers, and gets everybody's. What follows from
them is a pure function, so that nobody runs a program that another does not run; neither the clock nor a
finished tool decides one. One process alone goes by the same function.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# [n] of this process → [processes, n] of all, in order.
Agree = Callable[[np.ndarray], np.ndarray]


def alone(numbers: np.ndarray) -> np.ndarray:
  """The agreement of one process."""
  return numbers[None]


class Kind(NamedTuple):
  """What prompts of one prefill program share.

  Attributes:
    first: whether it is their first chunk.
    width: of the chunk, in tokens.
    sees: whether they have pictures; then each goes alone.
  """

  first: bool
  width: int
  sees: bool


@dataclasses.dataclass(frozen=True)
class Want:
  """Of one kind of prefill, what a process has.

  Attributes:
    most: prompts of one of its shards that would go together.
    slots: that they would need.
    ends: whether one of them would then be whole.
  """

  most: int = 0
  slots: int = 0
  ends: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
  """What a process has.

  Attributes:
    busy: anything that waits or decodes.
    starved: rows idle for want of entries for prompts.
    dropping: rows are to be ended.
    alive: rows under way.
    begins: a row begins, whatever is prefilled.
    rows: of a shard that are wanted, all of them where samples wait.
    oldest: tokens of the longest response under way.
    hungry: a row that ends would find another sample.
    wish: the kind that its oldest prompt waits for, by its place in the table; -1 for none.
    wants: one per kind of the table.
  """

  busy: bool
  starved: bool
  dropping: bool
  alive: bool
  begins: bool
  rows: int
  oldest: int
  hungry: bool
  wish: int
  wants: Sequence[Want]

  def numbers(self) -> np.ndarray:
    """[n] int32."""
    head = (self.busy, self.starved, self.dropping, self.alive, self.begins)
    head += (self.rows, self.oldest, self.hungry, self.wish)
    rest = [n for want in self.wants for n in (want.most, want.slots, want.ends)]
    return np.array([*head, *rest], np.int32)


@dataclasses.dataclass(frozen=True)
class Round:
  """What all do.

  Attributes:
    over: nobody has anything left.
    extend: more prompts are kept, and then all report again.
    drop: rows are ended.
    rows: of a shard that are wanted.
    kind: which prefill runs, by its place in the table; -1 for none.
    most: prompts per shard in it.
    slots: that prompts then need.
    begin: whether rows may begin.
    decode: whether a chunk is decoded.
    oldest: tokens of the longest response under way.
    hungry: a row that ends would find another sample.
  """

  over: bool
  extend: bool
  drop: bool
  rows: int
  kind: int
  most: int
  slots: int
  begin: bool
  decode: bool
  oldest: int
  hungry: bool


def decide(numbers: np.ndarray, turn: int) -> Round:
  """The round that follows from all reports.

  Args:
    numbers: [processes, n], see `Report.numbers`.
    turn: counts rounds; whose wish is heard first goes round.
  """
  busy, starved, dropping, alive, begins, rows, oldest, hungry, wish = numbers[:, :9].T
  wants = numbers[:, 9:].reshape(len(numbers), -1, 3)
  wishes = [int(w) for w in np.roll(wish, -(turn % len(numbers))) if w >= 0]
  kind = wishes[0] if wishes else -1
  most, slots, ends = wants[:, kind].max(0) if wishes else (0, 0, 0)
  return Round(
    over=not busy.any(),
    extend=bool(starved.any()),
    drop=bool(dropping.any()),
    rows=int(rows.max()),
    kind=kind,
    most=int(most),
    slots=int(slots),
    begin=bool(begins.any() or ends),
    decode=bool(alive.any() or begins.any() or ends),
    oldest=int(oldest.max()),
    hungry=bool(hungry.any()),
  )
