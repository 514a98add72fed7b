"""What a plan found, as text."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmi_jax.planning.account import Seconds, seconds
from llmi_jax.planning.hardware import Chip
from llmi_jax.planning.measured import Measured

GIB = 2**30


class Phase(NamedTuple):
  """One half of a step.

  Attributes:
    name: sampling or learning.
    parts: bytes on a chip by kind, temporaries last; what the fullest moment holds.
    fullest: the program in which that is.
  """

  name: str
  parts: Mapping[str, float]
  fullest: str

  @property
  def total(self) -> float:
    return sum(self.parts.values())


class Runs(NamedTuple):
  """A program and how often a step runs it."""

  phase: str
  program: Measured
  times: float


def memory(phases: Sequence[Phase], chip: Chip) -> str:
  """A table: kinds down, phases across."""
  kinds = list(dict.fromkeys(kind for phase in phases for kind in phase.parts))
  kinds.sort(key=lambda kind: kind == 'temporaries')
  lines = ['| GiB per chip | ' + ' | '.join(phase.name for phase in phases) + ' |']
  lines.append('|---|' + '---:|' * len(phases))
  for kind in kinds:
    found = (f'{phase.parts[kind] / GIB:.3g}' if kind in phase.parts else '–' for phase in phases)
    lines.append(f'| {kind} | ' + ' | '.join(found) + ' |')
  totals = (f'**{phase.total / GIB:.3g}** ({phase.total / chip.memory:.0%})' for phase in phases)
  lines.append(f'| **in all**, of {chip.memory / GIB:.2f} | ' + ' | '.join(totals) + ' |')
  lines.append('| fullest in | ' + ' | '.join(phase.fullest for phase in phases) + ' |')
  return '\n'.join(lines)


def times(runs: Sequence[Runs], chip: Chip) -> str:
  """A table of programs, with sums of each phase below."""
  head = 'phase program runs Tflop GB moved|GB between chips, by axis|compute s|memory s|links s|bound by'
  first, *rest = head.split('|')
  names = [*first.split(' ', 4), *rest]
  lines = ['| ' + ' | '.join(names) + ' |', '|---|---|' + '---:|' * 3 + '---|' + '---:|' * 3 + '---|']
  for run in runs:
    cost, each = run.program.cost, seconds(run.program.cost, chip)
    between = ', '.join(f'{axis} {size / 1e9:.3g}' for axis, size in sorted(cost.links.items()) if size)
    figures = [f'{cost.flops / 1e12:.3g}', f'{cost.traffic / 1e9:.3g}', between or '–']
    figures += [f'{value * run.times:.3g}' for value in each]
    lines.append(
      f'| {run.phase} | {run.program.name} | {run.times:g} | ' + ' | '.join([*figures, each.bound]) + ' |'
    )
  return '\n'.join(lines)


def step(runs: Sequence[Runs], chip: Chip) -> dict[str, float]:
  """Seconds of a step by phase, each program bound by what takes it longest."""
  found: dict[str, float] = {}
  for run in runs:
    each: Seconds = seconds(run.program.cost, chip)
    found[run.phase] = found.get(run.phase, 0.0) + run.times * each.longest
  return found
