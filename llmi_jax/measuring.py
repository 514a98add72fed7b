"""A planned run → what its programs hold on a chip and how long they take there."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llmi_jax import course, planned, updating, wiring
from llmi_jax.planned import Planned
from llmi_jax.planning import account, search
from llmi_jax.planning.account import Measured, held
from llmi_jax.planning.hardware import Chip
from llmi_jax.planning.page import Phase, Runs
from llmi_jax.programs.program import Program

Tell = Callable[[str], None]
STATE, VIEW = ('parameters', 'optimizer'), 'weights for sampling'
PROMPTS, RESPONSES = 'cache of prompts', 'cache of responses'


class Lengths(NamedTuple):
  """Tokens."""

  prompt: int
  response: int


@dataclasses.dataclass(frozen=True)
class Found:
  """What was found.

  Attributes:
    phases: sampling and learning, each at its fullest.
    runs: of a step.
    groups: prompts per shard of the largest micro-batch that fits; 0 if none does.
  """

  phases: tuple[Phase, ...]
  runs: tuple[Runs, ...]
  groups: int


class Bench:
  """Compiles programs, each once."""

  def __init__(self, run: Planned, chip: Chip, tell: Tell):
    layout = run.layouts.train
    self.chip, self._tell = chip, tell
    self._mesh: Any = None if layout is None else layout.mesh

  def __call__(self, program: Program, size: str = '') -> Measured:
    self._tell(f'{program.name}{size}')
    return account.measure(program, self._mesh)


def measured(run: Planned, chip: Chip, mean: Lengths, tell: Tell) -> Found:
  """Compiles and looks at everything.

  Args:
    run: what is planned.
    chip: of each device.
    mean: lengths that times are told for.
    tell: is told what is compiled next.
  """
  bench, state = Bench(run, chip, tell), planned.state(run)
  base = {
    'parameters': held(state.params) + held(wiring.split(run.policy, run.config)[1]),
    'optimizer': 0.0 if run.config.optimizer.offload else held(state.optimizer),
  }
  first, sampling = sample(run, bench, mean, base)
  second, learning, groups = learn(run, bench, mean, base)
  return Found((first, second), (*sampling, *learning), groups)


def sample(run: Planned, bench: Bench, mean: Lengths, base: dict[str, float]) -> tuple[Phase, Sequence[Runs]]:
  """The rollout."""
  config = run.config
  sizes = planned.engine_sizes(run)
  wanted = {sizes.bucket(n, sizes.response_slots) for n in (mean.response, sizes.response_slots)}
  programs = {p.name: p for p in planned.sampling(run, tuple(sorted(wanted)))}
  largest = programs[f'decode {sizes.response_slots}']
  view, cache = largest.arguments[:2]
  kept = {VIEW: held(view), PROMPTS: held(cache.prompts), RESPONSES: held(cache.rows)}
  found = {name: bench(program) for name, program in programs.items()}
  # What stands in memory beside a program's own arguments.
  beside = {'view': ('optimizer',), 'resize': (*STATE, VIEW, PROMPTS), 'see': (*STATE, PROMPTS, RESPONSES)}
  parts = base | kept
  fullest, most = '', -1.0
  for name, one in found.items():
    outside = sum(parts[kind] for kind in beside.get(name, STATE))
    if outside + one.total > most:
      fullest, most = name, outside + one.total
  known = {'view': (*STATE, VIEW)}.get(fullest, tuple(parts))
  shown = {kind: parts[kind] for kind in known}
  phase = Phase('sampling', shown | {'temporaries': max(0.0, most - sum(shown.values()))}, fullest)
  groups, shards = course.groups(config), sizes.shards
  rounds = -(-config.data.prompts // groups)
  chunks = -(-mean.prompt // sizes.most_width)
  together = shards * (1 if run.picture else sizes.prompts_together)
  often = {
    'view': 1,
    'see': config.data.prompts,
    'prefill first': -(-config.data.prompts // together),
    'prefill later': (chunks - 1) * -(-config.data.prompts // shards),
    f'decode {sizes.bucket(mean.response, sizes.response_slots)}': rounds * mean.response,
  }
  return phase, [Runs('sampling', one, often[name]) for name, one in found.items() if often.get(name)]


def learn(
  run: Planned, bench: Bench, mean: Lengths, base: dict[str, float]
) -> tuple[Phase, Sequence[Runs], int]:
  """The update, and the most prompts per shard of a micro-batch that fit."""
  config, pieces = run.config, updating.micro_batches(run.config, run.layouts.shards)
  widest, usual = pieces.widths[-1], pieces.width(mean.response)
  tried: dict[int, Measured] = {}

  def add(groups: int, width: int) -> Measured:
    programs = planned.learning(run, groups, (width,))
    program = next(p for p in programs if p.name == f'add {width}')
    return bench(program, f' of {groups} prompts per shard')

  def fits(groups: int) -> bool:
    tried[groups] = add(groups, widest)
    return base['optimizer'] + tried[groups].total <= bench.chip.memory

  each = run.each // pieces.updates
  begin = pieces.groups(widest, run.samples, each * run.layouts.shards) // run.layouts.shards
  most = search.largest(fits, each, begin)
  chosen = tried[most or min(tried)]
  budget = (most or 1) * (config.prompt.tokens + run.samples * widest)
  last = next(p for p in planned.learning(run, most or 1, (widest,)) if p.name == 'end')
  end, parts = bench(last), base | {'gradients': held(last.arguments[1])}
  totals = {
    f'add {widest}': base['optimizer'] + chosen.total,
    'end': held(planned.fixed(run)) + end.total,
  }
  fullest = max(totals, key=lambda name: totals[name])
  if fullest == 'end':
    parts['optimizer'] = held(planned.state(run).optimizer)
  parts['temporaries'] = max(0.0, totals[fullest] - sum(parts.values()))
  groups = max(1, min(each, budget // (config.prompt.tokens + run.samples * usual)))
  typical = chosen if usual == widest else add(groups, usual)
  often = -(-each // groups) * pieces.updates
  runs = [Runs('learning', typical, often), Runs('learning', end, pieces.updates)]
  return Phase('learning', parts, fullest), runs, most
