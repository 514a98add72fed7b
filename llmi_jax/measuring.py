"""A planned run → what its programs hold on a chip and how long they take there."""

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import jax.numpy as jnp
from ml_collections import ConfigDict

from llmi_jax import course, planned, updating, wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.planned import Planned
from llmi_jax.planning import account, search, topology
from llmi_jax.planning.account import held
from llmi_jax.planning.known import Known
from llmi_jax.planning.measured import Cost, Measured
from llmi_jax.planning.page import GIB, Phase, Runs
from llmi_jax.planning.topology import Slice
from llmi_jax.programs.program import Program
from llmi_jax.services import home

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

  def __init__(self, run: Planned, place: Slice, tell: Tell):
    layout = run.layouts.train
    self.place, self._run, self._tell = place, run, tell
    self._mesh: Any = None if layout is None else layout.mesh
    self._known = Known(home.cache('plans'), place.name)

  def __call__(self, program: Program) -> Measured:
    self._tell(f'Compiling {program.name} …')
    return self._told(account.measure(program, self._mesh, self._known))

  def apart(self, width: int, groups: int) -> Measured:
    """Gradients of a micro-batch, compiled elsewhere: a compiler that gives up takes its process along.

    What it was given then counts as too large.

    Args:
      width: of responses.
      groups: prompts per shard.
    """
    name = f'add {width}'
    self._tell(f'Compiling {name} of {groups} prompts per shard …')
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
      try:
        return self._told(
          pool.submit(_apart, self._run.config.to_json(), self.place.name, width, groups).result()
        )
      except BrokenProcessPool:
        self._tell('  the compiler gave up; this counts as too large')
        return Measured(name, None, Cost(0.0, 0.0, {}))

  def _told(self, found: Measured) -> Measured:
    self._tell(f'  {found.total / GIB:.3g} GiB, compiled in {found.compiled_in:.0f} s')
    return found


def _apart(config: str, name: str, width: int, groups: int) -> Measured:
  """What `Bench.apart` has done elsewhere."""
  topology.prepare(name)
  place = topology.find(name)
  run = planned.planned(ConfigDict(json.loads(config)), place.devices, place.processes)
  programs = planned.learning(run, groups, (width,))
  return Bench(run, place, lambda _: None)(next(p for p in programs if p.name == f'add {width}'))


def measured(run: Planned, place: Slice, mean: Lengths, tell: Tell) -> Found:
  """Compiles and looks at everything.

  Args:
    run: what is planned.
    place: devices.
    mean: lengths that times are told for.
    tell: is told what is compiled next.

  Raises:
    ConfigError: the compiler fails on shorter responses where longer ones passed.
  """
  bench, state = Bench(run, place, tell), planned.state(run)
  base = {
    'parameters': held(state.params) + held(wiring.split(run.policy, run.config)[1]),
    'optimizer': 0.0 if wiring.optimizer(run.config).offload else held(state.optimizer),
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
  config, place, pieces = run.config, bench.place, updating.micro_batches(run.config, run.layouts.shards)
  widest, usual = pieces.widths[-1], pieces.width(mean.response)
  tried: dict[int, Measured] = {}

  def fits(groups: int) -> bool:
    room = place.chip.memory - base['optimizer']
    more = least(run, widest)
    if any(n < groups and one.total + (groups - n) * more > room for n, one in tried.items()):
      return False  # without a compilation
    tried[groups] = bench.apart(widest, groups)
    return tried[groups].total <= room

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
  typical = chosen if usual == widest else bench.apart(usual, groups)
  if most and typical.memory is None:
    raise ConfigError(
      f'Gradients of {groups} prompts per shard with responses of {usual} tokens could not be compiled, '
      'though longer ones were; leave out --mean_response, or use another libtpu.'
    )
  often = -(-each // groups) * pieces.updates
  runs = [Runs('learning', typical, often), Runs('learning', end, pieces.updates)]
  return Phase('learning', parts, fullest), runs, most


def least(run: Planned, width: int) -> float:
  """Bytes on a chip that one prompt more in a micro-batch takes at least.

  What goes into each layer is kept for the gradient, whatever is computed again.
  """
  config, layout = run.config, run.layouts.train
  own = run.policy.config
  tokens = config.prompt.tokens + run.samples * width
  size = (wiring.dtype(config, 'policy.compute') or jnp.float32)(0).itemsize
  cut = layout.size('tokens') if layout else 1
  return tokens * own.width * own.layers * size / cut
