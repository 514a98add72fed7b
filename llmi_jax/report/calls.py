"""Which tools the policy called in training, how that changed, and what went wrong most often."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from llmi_jax.data import rollouts

MOST = 12  # failures told
_LENGTH = 120  # characters of an error, by which like ones are counted together


@dataclasses.dataclass(frozen=True)
class Tool:
  """The calls of one tool.

  Attributes:
    name: of the tool.
    calls: all of them.
    first: its share of the calls in the first quarter of the steps.
    last: likewise in the last.
    ok: those that gave a picture.
    policy: those that failed through the policy's doing.
    environment: those that failed through the environment's.
    seconds: the median call's.
  """

  name: str
  calls: int
  first: float
  last: float
  ok: int
  policy: int
  environment: int
  seconds: float


@dataclasses.dataclass(frozen=True)
class Failure:
  """One kind of failure: in which words, where, how often, and in which step last."""

  what: str
  where: str
  times: int
  step: int


@dataclasses.dataclass(frozen=True)
class Calls:
  """Of a run; `first` and `last` are calls per sample in the first and the last quarter, in words."""

  tools: tuple[Tool, ...]
  failures: tuple[Failure, ...]
  first: str
  last: str


def of_run(workdir: str | os.PathLike) -> Calls | None:
  """Counts what a run's training samples called; None where there is none."""
  folder = pathlib.Path(workdir) / 'rollouts' / 'train'
  steps = np.asarray(rollouts.columns(folder, ['step'])['step'])
  if not steps.size:
    return None
  parts = rollouts.parts(folder).to_pydict()
  at = steps[np.asarray(parts['row'], int)] if parts['row'] else np.zeros(0, int)
  quarter = np.quantile(steps, [0.25, 0.75])
  called = np.array([status is not None for status in parts['status']], bool)
  early, late = called & (at <= quarter[0]), called & (at >= quarter[1])
  names = np.array(parts['tool'], object)
  tools = tuple(
    _tool(name, parts, called & (names == name), early, late) for name in sorted(set(names[called].tolist()))
  )
  rate = lambda mine, samples: f'{mine.sum() / max(samples.sum(), 1):.2f} a sample'
  return Calls(
    tools,
    _failures(parts, at),
    rate(early, steps <= quarter[0]),
    rate(late, steps >= quarter[1]),
  )


def _tool(
  name: str, parts: Mapping[str, list[Any]], mine: np.ndarray, early: np.ndarray, late: np.ndarray
) -> Tool:
  status, fault = np.array(parts['status'], object)[mine], np.array(parts['fault'], object)[mine]
  bad = status != 'ok'
  share = lambda when: float((mine & when).sum() / max(when.sum(), 1))
  return Tool(
    name,
    int(mine.sum()),
    share(early),
    share(late),
    int((~bad).sum()),
    int((bad & (fault == 'policy')).sum()),
    int((bad & (fault == 'environment')).sum()),
    float(np.median(np.array(parts['seconds'], float)[mine])),
  )


def _failures(parts: Mapping[str, list[Any]], at: np.ndarray) -> tuple[Failure, ...]:
  times: collections.Counter[tuple[str, str]] = collections.Counter()
  last: dict[tuple[str, str], int] = {}
  for kind, step in zip(_told(parts), at.tolist()):
    if kind:
      times[kind] += 1
      last[kind] = max(step, last.get(kind, 0))
  return tuple(Failure(*kind, count, last[kind]) for kind, count in times.most_common(MOST))


def _told(parts: Mapping[str, list[Any]]) -> Iterator[tuple[str, str] | None]:
  """Each part's failure, and where it happened; None where it is none."""
  for kind, tool, reason, status, fault, error in zip(
    *(parts[name] for name in ('kind', 'tool', 'reason', 'status', 'fault', 'error'))
  ):
    if kind != 'gap':
      yield None
    elif reason:
      yield f'malformed tag: {reason}'[:_LENGTH], 'grammar'
    else:
      words = (error or '').strip().splitlines()
      yield (
        f'{status or "no call"}: {words[-1] if words else "no reason given"}'[:_LENGTH],
        (f'{tool or "tag"}, {fault or "policy"}'),
      )
