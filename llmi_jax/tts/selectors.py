"""Who prefers one answer to another: by reward-style scores, pair by pair, or by ordering a list.

All give a ranking. What was not judged ranks as the mean of what was: a missing verdict is no loss and no
merit. Among equals one that was judged goes first, then the one with the lower index.
"""

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from llmi_jax.core.answer import Answer, Picture, Prose
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Verdict
from llmi_jax.judges.pairwise import Preference
from llmi_jax.services.sharing import Flights

Ask = Callable[[Task, Answer], Awaitable[Verdict]]
Value = Callable[[Task, Answer], float | None]
Compare = Callable[[Task, Answer, Answer], Awaitable[Preference]]


@dataclasses.dataclass(frozen=True)
class Ranking:
  """Answers in order.

  Attributes:
    order: indices, best first.
    values: of each answer, on the selector's scale; None where it was not judged.
    words: about each answer, for people.
    lost: verdicts that the environment lost.
  """

  order: tuple[int, ...]
  values: tuple[float | None, ...]
  words: tuple[str, ...]
  lost: int = 0

  def beats(self, index: int, other: int) -> bool:
    """Whether one is better than the other beyond doubt: both were judged, and its value is higher."""
    mine, its = self.values[index], self.values[other]
    return mine is not None and its is not None and mine > its


class Selector(Protocol):
  """Ranks answers to one task.

  Attributes:
    name: what it is, for people; a judge of that name should not report the final figure.
  """

  @property
  def name(self) -> str: ...

  async def rank(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    """Ranks two answers or more; never raises for what an answer holds or a service does."""
    ...

  def so_far(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    """The same from what is known already; asks nobody."""
    ...


def ranking(values: Sequence[float | None], words: Sequence[str], lost: int = 0) -> Ranking:
  """Puts answers in order by their values."""
  known = [value for value in values if value is not None]
  mean = sum(known) / len(known) if known else 0.0

  def place(index: int) -> tuple[float, bool, int]:
    value = values[index]
    return -(mean if value is None else value), value is None, index

  return Ranking(tuple(sorted(range(len(values)), key=place)), tuple(values), tuple(words), lost)


class _Score(NamedTuple):
  value: float | None
  words: str
  lost: int = 0


_UNKNOWN = _Score(None, 'not judged')


class Scores:
  """Reward-style scores: judges' verdicts as one number. An answer is judged once, whoever asks again."""

  def __init__(self, name: str, judges: Sequence[Ask], value: Value):
    """Makes one.

    Args:
      name: for people.
      judges: asked together about each answer.
      value: an answer with its verdicts → a number; None where a needed verdict is missing.
    """
    self.name = name
    self._judges, self._value = judges, value
    self._known: dict[str, _Score] = {}
    self._flights: Flights[_Score] = Flights()

  async def rank(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    await asyncio.gather(*(self._score(task, answer) for answer in answers))
    return self.so_far(task, answers)

  def so_far(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    found = [self._known.get(content(task, answer), _UNKNOWN) for answer in answers]
    return ranking([f.value for f in found], [f.words for f in found], sum(f.lost for f in found))

  async def _score(self, task: Task, answer: Answer) -> None:
    key = content(task, answer)
    if key not in self._known:
      self._known[key] = await self._flights.share(key, lambda: self._judged(task, answer))

  async def _judged(self, task: Task, answer: Answer) -> _Score:
    verdicts = tuple(await asyncio.gather(*(ask(task, answer) for ask in self._judges)))
    value = self._value(task, dataclasses.replace(answer, verdicts=verdicts))
    missing = [verdict for verdict in verdicts if verdict.status == 'missing']
    return _Score(value, '; '.join(map(_told, verdicts)), len(missing))


class Pairs:
  """Every pair compared in both orders; the value is the share of comparisons won, ties half."""

  def __init__(self, name: str, compare: Compare, opponents: int = 0):
    """Makes one.

    Args:
      name: for people.
      compare: two answers; asks twice with their places swapped.
      opponents: how many others an answer is compared with at least, its neighbours in a circle; 0 for all.
    """
    self.name = name
    self._compare, self._opponents = compare, opponents
    self._known: dict[tuple[str, str], Preference] = {}

  async def rank(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    keys = [content(task, answer) for answer in answers]
    asked = {(keys[a], keys[b]): (answers[a], answers[b]) for a, b in self._pairs(len(answers))}
    await asyncio.gather(
      *(self._ask(task, key, *pair) for key, pair in asked.items() if key not in self._known)
    )
    return self.so_far(task, answers)

  async def _ask(self, task: Task, key: tuple[str, str], one: Answer, other: Answer) -> None:
    same = key[0] == key[1]
    self._known[key] = Preference('tie') if same else await self._compare(task, one, other)

  def so_far(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    keys = [content(task, answer) for answer in answers]
    pairs = self._pairs(len(answers))
    found = [self._known.get((keys[a], keys[b]), Preference(None)) for a, b in pairs]
    won, met, lost = [0.0] * len(answers), [0] * len(answers), 0
    words: list[list[str]] = [[] for _ in answers]
    for (a, b), preference in zip(pairs, found):
      if preference.better is None:
        lost += 1
        continue
      share = {'first': 1.0, 'second': 0.0, 'tie': 0.5}[preference.better]
      for index, other, part in ((a, b, share), (b, a, 1 - share)):
        won[index] += part
        met[index] += 1
        verb = {1.0: 'better than', 0.0: 'worse than', 0.5: 'even with'}[part]
        words[index].append(f'{verb} {other}{" (swayed by the order)" if preference.swapped else ""}')
    values = [w / m if m else None for w, m in zip(won, met)]
    return ranking(values, [', '.join(said) or 'not compared' for said in words], lost)

  def _pairs(self, count: int) -> list[tuple[int, int]]:
    reach = min(self._opponents or count, count - 1)
    ring = {(a, (a + step) % count) for a in range(count) for step in range(1, reach + 1)}
    return sorted({(min(pair), max(pair)) for pair in ring})


def content(task: Task, answer: Answer) -> str:
  """What a verdict on an answer depends on, as a hex digest."""
  said = json.dumps([task.id, task.question, list(_said(answer))])
  return hashlib.sha256(said.encode()).hexdigest()


def _said(answer: Answer) -> Iterator[list[str]]:
  for part in answer.parts:
    if isinstance(part, Prose):
      yield ['text', part.text]
    else:
      held = part.image.sha256 if isinstance(part, Picture) else part.words
      yield [type(part).__name__, held, part.call.raw if part.call else '', repr(_executed(part))]


def _executed(part) -> tuple:
  """What judges that are programs look at besides pictures."""
  if part.outcome is None:
    return ()
  captions = tuple(candidate.caption for candidate in part.outcome.candidates[:1])
  return part.outcome.executed, captions, part.outcome.fault


def _told(verdict: Verdict) -> str:
  if verdict.status != 'scored':
    return f'{verdict.judge}: {verdict.reason or verdict.status}'
  return f'{verdict.judge} ' + ', '.join(f'{score.name} {score.value:g}' for score in verdict.scores)
