"""What a run is made of, and what it counts: made by the entry point, used by the trainer."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from llmi_jax import metrics
from llmi_jax.checkpoint.checkpoints import Checkpoints
from llmi_jax.core.task import Task
from llmi_jax.rewards import audit
from llmi_jax.rl.advantages import Kind
from llmi_jax.rl.gate import Gate
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rl.overlong import Overlong
from llmi_jax.rollout.accord import Accord
from llmi_jax.rollout.facts import Facts
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.rollout.rollout import Roller
from llmi_jax.sinks.sink import Sinks
from llmi_jax.terminal.compiles import Compiles
from llmi_jax.terminal.screen import Screen
from llmi_jax.update.state import TrainState


@dataclasses.dataclass(frozen=True)
class Settings:
  """Plain values of a run.

  Attributes:
    steps: updates in all.
    samples: rollouts per prompt, R.
    prompt_width: Tp, in tokens.
    pieces: how a step's rows are cut for the update.
    surrogate: the loss.
    weights: of the reward's parts, by name.
    advantage: see `rl.advantages`.
    limit: the longest response.
    overlong: what nearing it costs.
    gate: of the reward.
    eval_samples: per task of an evaluation.
    eval_batch: tasks rolled out together in an evaluation.
    eval_every: steps between evaluations; 0 for none but those at both ends.
    save_every: steps between checkpoints; what is evaluated is saved, too.
    replay_every: steps between two updates that are computed twice and compared; 0 for none.
    shown_every: steps between those of which sinks are shown samples; 0 for none.
    shown: samples then, of different prompts.
    max_unused: steps in a row without a scorable sample or with gradients that are not finite, after which
      the run ends.
  """

  steps: int
  samples: int
  prompt_width: int
  pieces: MicroBatches
  surrogate: Surrogate
  weights: Mapping[str, float]
  advantage: Kind = 'grpo'
  limit: int = 0
  overlong: Overlong = Overlong()
  gate: Gate = 'paper'
  eval_samples: int = 1
  eval_batch: int = 32
  eval_every: int = 0
  save_every: int = 20
  replay_every: int = 0
  shown_every: int = 0
  shown: int = 4
  max_unused: int = 5


@dataclasses.dataclass(frozen=True)
class Audience:
  """Who is told of a run while it runs.

  Attributes:
    screen: people before it.
    sinks: views of the run besides its own files.
    compiles: what was compiled.
    used: seconds of a step and tokens of this process → the share of the devices' peak; None where no peak
      is known.
    memory: GiB at most so far, of a device, or of the process where devices do not tell.
  """

  screen: Screen
  sinks: Sinks
  compiles: Compiles
  used: Callable[[float, int], float | None]
  memory: Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Run:
  """Everything training needs, made by the entry point.

  Attributes:
    settings: plain values.
    workdir: where everything is written.
    order: step → that step's tasks.
    eval_tasks: what is evaluated.
    roller: generates and scores.
    update: the training step over micro-batches, (state, micro-batches, span); donates the state.
    view: the jitted program from parameters to the sampler's form.
    checkpoints: of the work folder.
    writer: of metrics.
    meta: saved with every checkpoint.
    origin: what answers are signed with.
    tools: names of the configured tools.
    stop: set when the run is asked to end.
    watch: looks for signs that the policy games its reward.
    forget: drops the kept replies of steps before the one that it is told.
    audience: who is told of it.
  """

  settings: Settings
  workdir: str
  order: Callable[[int], Sequence[Task]]
  eval_tasks: Sequence[Task]
  roller: Roller
  update: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
  view: Callable[[Any], Any]
  checkpoints: Checkpoints
  writer: metrics.Writer
  meta: dict[str, Any]
  origin: str
  tools: tuple[str, ...]
  stop: asyncio.Event
  watch: Callable[[int, Sequence[audit.Sample]], dict[str, float]]
  forget: Callable[[int], None]
  audience: Audience

  @property
  def accord(self) -> Accord:
    """The processes of this run."""
    return self.roller.accord


class Everybody(NamedTuple):
  """What is told of a step, of all processes' samples in order.

  Attributes:
    facts: of every sample.
    seen: what the audit reads of them.
    gauges: numbers about their judges' and tools' calls.
  """

  facts: list[Facts]
  seen: list[audit.Sample]
  gauges: dict[str, float]


class Past(NamedTuple):
  """What earlier parts of a run leave to the next beside the state.

  Attributes:
    seconds: that they took.
    unused: steps in a row, up to now, that could not be used.
  """

  seconds: float = 0.0
  unused: int = 0


class Clock:
  """What a run counts besides the state's steps."""

  def __init__(self, past: Past):
    self._began = time.monotonic() - past.seconds
    self.unused = past.unused

  def seconds(self) -> float:
    """Since the run's beginning, all its parts together."""
    return time.monotonic() - self._began

  def meta(self) -> dict[str, Any]:
    """What `Past` is made from."""
    return Past(self.seconds(), self.unused)._asdict()


class Meter:
  """Measures what a step takes besides seconds by kind."""

  def __init__(self, run: Run):
    """Begins now."""
    self._run = run
    self._compiled, self._tokens = run.audience.compiles.seconds, self._passed()

  def scalars(self, seconds: float) -> dict[str, float]:
    """Of a step that took so long: seconds of compilation, the share of the devices' peak (none where that is
    not known, or in a step that compiled), and memory."""
    audience = self._run.audience
    compiled = audience.compiles.seconds - self._compiled
    used = None if compiled else audience.used(seconds, self._passed() - self._tokens)
    told = {'time/compile': compiled, 'time/memory_gib': audience.memory()}
    return told if used is None else told | {'time/mfu': used}

  def _passed(self) -> int:
    """Tokens that have passed the policy, of prompts and responses."""
    counts = self._run.roller.engine.counts
    return counts.tokens + counts.prefilled
