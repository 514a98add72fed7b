"""Two or more runs, or one run at several steps, side by side: the same prompts, and what became of them."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from llmi_jax.data import rollouts
from llmi_jax.eval.numbers import Difference, paired
from llmi_jax.view.index import Index, Run

# Settings without which a difference has another cause than the policy.
_DOUBTFUL = ('seed', 'reward', 'data', 'tools', 'prompt')
# Which way is better: rewards and their parts up, failures down; of the others neither.
_DOWN, _NEITHER = ('errors',), ('advantage', 'step', 'length', 'pictures', 'calls')
_TOLD = 8  # settings that differ, in one warning


@dataclasses.dataclass(frozen=True)
class Side:
  """Samples of one run at one step.

  Attributes:
    run: its name.
    kind: `eval` or `train`.
    step: the policy's.
  """

  run: str
  kind: str
  step: int

  def __str__(self) -> str:
    return f'{self.run}@{self.step}' if self.kind == 'eval' else f'{self.run}@{self.step}:train'


@dataclasses.dataclass(frozen=True)
class Aligned:
  """One prompt on all sides.

  Attributes:
    task: its id.
    question: in words.
    values: mean of the figure by side; None where a side does not have it.
    rows: numbers of the samples in the index, by side.
    delta: the last side that has it minus the first; None where there is none.
  """

  task: str
  question: str
  values: tuple[float | None, ...]
  rows: tuple[tuple[int, ...], ...]
  delta: float | None


def sides(index: Index, kind: str = 'eval') -> list[Side]:
  """Everything that can stand on a side, run by run, steps in order."""
  runs, kinds, steps = (index.table[name].to_pylist() for name in ('run', 'kind', 'step'))
  found = {Side(*one) for one in zip(runs, kinds, steps) if one[1] == kind}
  order = {run.name: place for place, run in enumerate(index.runs)}
  return sorted(found, key=lambda side: (order[side.run], side.step))


def usual(index: Index) -> tuple[Side, ...]:
  """What is compared where nothing is named: each run's last evaluation, or one run's first and last."""
  known = sides(index) or sides(index, 'train')
  last = {side.run: side for side in known}
  if len(last) > 1:
    return tuple(last.values())
  return tuple(dict.fromkeys([known[0], known[-1]])) if known else ()


def parse(text: str, index: Index) -> Side | None:
  """Reads `run@step` or `run@step:train`; None where there is no such side."""
  name, _, rest = text.rpartition('@')
  step, _, kind = rest.partition(':')
  return next((s for s in sides(index, kind or 'eval') if s.run == name and str(s.step) == step), None)


def better(figure: str) -> int:
  """1 where more of a figure is better, −1 where less is, 0 where neither."""
  return -1 if figure in _DOWN else 0 if figure in _NEITHER else 1


def align(index: Index, chosen: Sequence[Side], figure: str) -> list[Aligned]:
  """Every prompt that any side has, the greatest loss first, then those without a difference."""
  columns = ('run', 'kind', 'step', 'task', 'question')
  listed = zip(*(index.table[name].to_pylist() for name in columns), index.number(figure).tolist())
  place = {side: number for number, side in enumerate(chosen)}
  rows: dict[str, list[list[int]]] = collections.defaultdict(lambda: [[] for _ in chosen])
  values: dict[str, list[list[float]]] = collections.defaultdict(lambda: [[] for _ in chosen])
  questions: dict[str, str] = {}
  for row, (run, kind, step, task, question, value) in enumerate(listed):
    at = place.get(Side(run, kind, step))
    if at is None:
      continue
    questions.setdefault(task, question)
    rows[task][at].append(row)
    if not np.isnan(value):
      values[task][at].append(value)
  made = [_aligned(task, question, rows[task], values[task]) for task, question in questions.items()]
  up = better(figure) or 1
  return sorted(made, key=lambda a: (a.delta is None, up * (a.delta or 0.0), a.task))


def telling(index: Index, aligned: Aligned, figure: str) -> int:
  """The number of the sample whose difference between first and last side is greatest in the prompt's own
  direction; 0 where no sample is on both."""
  samples, values = index.number('sample'), index.number(figure)
  first, last = ({int(samples[r]): values[r] for r in rows} for rows in (aligned.rows[0], aligned.rows[-1]))
  way = -1 if (aligned.delta or 0) < 0 else 1
  gaps = {k: way * (last[k] - first[k]) for k in sorted(first.keys() & last.keys())}
  return max(gaps, key=lambda k: (not np.isnan(gaps[k]), gaps[k]), default=0)


def differences(
  index: Index, chosen: Sequence[Side]
) -> Iterator[tuple[str, list[float | None], list[Difference]]]:
  """Every figure: its mean on each side, and each other side against the first, prompt by prompt, with a
  paired bootstrap interval."""
  for figure in index.numbers:
    if figure == 'step':
      continue
    aligned = align(index, chosen, figure)
    by_side: list[dict[str, float]] = [
      {a.task: value for a in aligned if (value := a.values[side]) is not None} for side in range(len(chosen))
    ]
    means = [float(np.mean(list(values.values()))) if values else None for values in by_side]
    yield figure, means, [paired(figure, by_side[0], other) for other in by_side[1:]]


def warnings(index: Index, chosen: Sequence[Side], aligned: Sequence[Aligned]) -> list[str]:
  """What makes a difference doubtful: other prompts, judges, seeds, settings; prompts that one side lacks."""
  told = []
  alone = [a.task for a in aligned if not all(a.rows)]
  if alone:
    told.append(f'{len(alone)} of {len(aligned)} prompts are not on every side, such as {alone[0]}.')
  first, *others = ((side, *_seen(index, side)) for side in chosen)
  config = _settings(index.run(first[0].run))
  for side, prompts, judges in others:
    differ = sorted(task for task in prompts.keys() & first[1].keys() if prompts[task] != first[1][task])
    if differ:
      told.append(f'{len(differ)} prompts read otherwise on {side} than on {first[0]}, such as {differ[0]}.')
    if judges != first[2]:
      told.append(f'{first[0]} was judged by {_names(first[2])}, {side} by {_names(judges)}.')
    told += _differing(config, _settings(index.run(side.run)), first[0], side)
  return told


def _aligned(task: str, question: str, rows: list[list[int]], values: list[list[float]]) -> Aligned:
  means = [float(np.mean(found)) if found else None for found in values]
  there = [mean for mean in means[1:] if mean is not None]
  delta = there[-1] - means[0] if there and means[0] is not None else None
  return Aligned(task, question, tuple(means), tuple(map(tuple, rows)), delta)


def _seen(index: Index, side: Side) -> tuple[dict[str, str], set[tuple[str, str, str]]]:
  """Prompt by task, and who judged with which model and judge prompt."""
  run = index.run(side.run)
  prompts: dict[str, str] = {}
  judges: set[tuple[str, str, str]] = set()
  if run is None:
    return prompts, judges
  table = rollouts.columns(run.folder / 'rollouts' / side.kind, ['step', 'task', 'prompt', 'verdicts'])
  for row in table.filter(np.asarray(table['step']) == side.step).to_pylist():
    prompts.setdefault(row['task'], row['prompt'])
    judges |= {(v['judge'], v['model'], v['prompt_hash']) for v in row['verdicts'] if v['status'] == 'scored'}
  return prompts, judges


def _names(judges: set[tuple[str, str, str]]) -> str:
  told = [f'{judge} ({model or "unnamed"}, prompt {hash[:8] or "unknown"})' for judge, model, hash in judges]
  return ', '.join(sorted(told)) or 'nobody'


def _settings(run: Run | None) -> dict[str, str]:
  """Dotted names and values of what a comparison depends on."""
  config = run.config() if run else {}
  return dict(_flat({name: config[name] for name in _DOUBTFUL if name in config}))


def _flat(config: Mapping[str, Any], before: str = '') -> Iterator[tuple[str, str]]:
  for name, value in config.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f'{before}{name}.')
    else:
      yield before + name, json.dumps(value)


def _differing(one: Mapping[str, str], other: Mapping[str, str], first: Side, second: Side) -> list[str]:
  names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
  if not names or first.run == second.run:
    return []
  pairs = [f'{n} is {one.get(n, "absent")} and {other.get(n, "absent")}' for n in names[:_TOLD]]
  more = f'; {len(names) - _TOLD} more differ' if len(names) > _TOLD else ''
  return [f'The configurations of {first.run} and {second.run} differ: {"; ".join(pairs)}{more}.']
