"""The immutable tree of revisions: what was made of what, who goes on, and what became of the others."""

import dataclasses
from collections.abc import Iterable, Sequence

from llmi_jax.core.answer import Answer, Revision


@dataclasses.dataclass(frozen=True)
class Fate:
  """What a stage made of a revision.

  Attributes:
    revision: its index.
    stage: that decided.
    kept: whether it went on.
    why: one sentence for people.
    value: the selector's, on its own scale; None where it gave none.
  """

  revision: int
  stage: str
  kept: bool
  why: str = ''
  value: float | None = None


@dataclasses.dataclass(frozen=True)
class Note:
  """Something that a stage has to say."""

  stage: str
  words: str


@dataclasses.dataclass(frozen=True)
class Tree:
  """Everything that was made for one task.

  Attributes:
    revisions: parents before children, samples first.
    samples: the number of each sample among those that were asked for.
    live: indices of those that go on, best first.
    fates: in the order of decision.
    notes: likewise.
  """

  revisions: tuple[Revision, ...] = ()
  samples: tuple[int, ...] = ()
  live: tuple[int, ...] = ()
  fates: tuple[Fate, ...] = ()
  notes: tuple[Note, ...] = ()

  def answer(self, index: int) -> Answer:
    return self.revisions[index].answer

  @property
  def answers(self) -> tuple[Answer, ...]:
    """Of those that go on."""
    return tuple(self.answer(index) for index in self.live)

  def sample(self, index: int) -> int:
    """The number of the sample that a revision descends from."""
    while (parent := self.revisions[index].parent) is not None:
      index = parent
    return self.samples[index]

  def grown(self, revisions: Iterable[Revision]) -> 'Tree':
    """With further revisions; who goes on stays as it is."""
    return dataclasses.replace(self, revisions=(*self.revisions, *revisions))

  def decided(self, live: Sequence[int], fates: Iterable[Fate] = ()) -> 'Tree':
    """With others that go on."""
    return dataclasses.replace(self, live=tuple(live), fates=(*self.fates, *fates))

  def noted(self, stage: str, *words: str) -> 'Tree':
    """With something said."""
    return dataclasses.replace(self, notes=(*self.notes, *(Note(stage, one) for one in words)))
