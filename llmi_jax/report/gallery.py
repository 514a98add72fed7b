"""Which documents of a run a report shows, and by which rule they were chosen."""

import dataclasses
import os
import pathlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from llmi_jax.data import rollouts
from llmi_jax.data.rollout import Rollout
from llmi_jax.report.render import Sibling

PAIRS, EACH = 6, 4
T = TypeVar('T')


class _Row(NamedTuple):
  """What is known of a rollout before it is read."""

  id: str
  step: int
  task: str
  sample: int
  reward: float | None
  advantage: float
  gaps: int
  tools: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Pair:
  """One task before and after training."""

  before: Rollout
  after: Rollout


@dataclasses.dataclass(frozen=True)
class Gallery:
  """Chosen documents; no rollout occurs twice.

  Attributes:
    pairs: evaluated tasks, evenly from the greatest gain to the greatest loss.
    best: training samples with the highest reward, one per task, later ones first among equals, so chosen
      that every tool's pictures are shown.
    worst: scorable samples of the last quarter of training with the lowest reward, one per task.
    failed: unscorable samples first, then those with the most gaps, one per task, later ones first.
    siblings: samples of the shown training samples' groups, by id.
    counts: rollouts on disk, by kind.
  """

  pairs: tuple[Pair, ...]
  best: tuple[Rollout, ...]
  worst: tuple[Rollout, ...]
  failed: tuple[Rollout, ...]
  siblings: dict[str, tuple[Sibling, ...]]
  counts: dict[str, int]


def choose(workdir: str | os.PathLike) -> Gallery:
  """Reads the few columns that decide, then only the rollouts that are shown."""
  folder = pathlib.Path(workdir) / 'rollouts'
  evaluated, trained = _rows(folder / 'eval'), _rows(folder / 'train')
  pairs = _pairs(evaluated)
  best, worst, failed = _extremes(trained)
  by_id = {r.id: r for r in rollouts.read(folder / 'eval', [row.id for pair in pairs for row in pair])}
  samples = {r.id: r for r in rollouts.read(folder / 'train', [row.id for row in best + worst + failed])}
  groups = defaultdict(list)
  for row in trained:
    groups[row.step, row.task].append(Sibling(row.sample, row.reward, row.advantage))
  return Gallery(
    tuple(Pair(by_id[before.id], by_id[after.id]) for before, after in pairs),
    *(tuple(samples[row.id] for row in rows) for rows in (best, worst, failed)),
    siblings={row.id: tuple(groups[row.step, row.task]) for row in best + worst + failed},
    counts={'train': len(trained), 'eval': len(evaluated)},
  )


def _rows(folder: pathlib.Path) -> list[_Row]:
  names = ['id', 'step', 'task', 'sample', 'reward', 'advantage']
  table = rollouts.columns(folder, names)
  made: dict[str, dict[int, list[str]]] = {'picture': defaultdict(list), 'gap': defaultdict(list)}
  parts = rollouts.parts(folder).select(['row', 'kind', 'tool']).to_pydict()
  for row, kind, tool in zip(*parts.values()):
    if kind in made:
      made[kind][row].append(tool)
  return [
    _Row(**row, gaps=len(made['gap'][i]), tools=frozenset(made['picture'][i]))
    for i, row in enumerate(table.to_pylist())
  ]


def _pairs(rows: Sequence[_Row]) -> list[tuple[_Row, _Row]]:
  steps = sorted({row.step for row in rows})
  if len(steps) < 2:
    return []
  at = lambda step: {
    (row.task, row.sample): row for row in rows if row.step == step and row.reward is not None
  }
  before, after = at(steps[0]), at(steps[-1])
  both = [(before[key], after[key]) for key in sorted(before.keys() & after.keys())]
  gain = lambda pair: (pair[1].reward or 0) - (pair[0].reward or 0)
  ranked = _one_per_task(sorted(both, key=gain, reverse=True), lambda pair: pair[0].task)
  if len(ranked) <= PAIRS:
    return ranked
  return [ranked[round(i * (len(ranked) - 1) / (PAIRS - 1))] for i in range(PAIRS)]


def _extremes(rows: Sequence[_Row]) -> tuple[list[_Row], list[_Row], list[_Row]]:
  """Best, worst and failed samples, disjoint."""
  last = max((row.step for row in rows), default=0)
  late = [row for row in rows if row.step >= last * 3 / 4]
  trouble = sorted(
    (row for row in late if row.reward is None or row.gaps),
    key=lambda row: (row.reward is not None, -row.gaps, -row.step),
  )
  failed = _one_per_task(trouble, _task)[:EACH]
  rest = _scored(rows, failed)
  ranked = _one_per_task(sorted(rest, key=lambda row: (-(row.reward or 0), -row.step)), _task)
  best = _various(ranked, EACH)
  rest = _scored(late, failed + best)
  worst = _one_per_task(sorted(rest, key=lambda row: row.reward or 0), _task)[:EACH]
  return best, worst, failed


def _various(ranked: Sequence[_Row], count: int) -> list[_Row]:
  """The first `count` rows, in order, in which every tool has a picture, as far as there are such."""
  first: list[_Row] = []
  for row in ranked:
    if row.tools - frozenset().union(*(kept.tools for kept in first)):
      first.append(row)
  rest = [row for row in ranked if row not in first]
  return sorted([*first, *rest][:count], key=ranked.index)


def _scored(rows: Iterable[_Row], taken: Iterable[_Row]) -> list[_Row]:
  """Scorable rows that are not shown yet."""
  ids = {row.id for row in taken}
  return [row for row in rows if row.reward is not None and row.id not in ids]


def _task(row: _Row) -> str:
  return row.task


def _one_per_task(rows: Iterable[T], task: Callable[[T], str]) -> list[T]:
  """The first row of each task, in order."""
  first: dict[str, T] = {}
  for row in rows:
    first.setdefault(task(row), row)
  return list(first.values())
