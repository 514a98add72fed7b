"""The one path: tasks → rollout → advantages → batch → update → log → save; an evaluation at both ends."""

import asyncio
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import jax

from llmi_jax import checkpoint, metrics
from llmi_jax.core.errors import Interrupted, TrainingError
from llmi_jax.core.task import Task
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.data import rollouts
from llmi_jax.rl.advantages import Kind
from llmi_jax.rl.gate import Gate
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rollout import batch, pieces, statistics
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.services import files
from llmi_jax.update import TrainState


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
    gate: of the reward.
    eval_samples: per task of an evaluation.
    eval_batch: tasks rolled out together in an evaluation.
    save_every: steps between checkpoints.
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
  gate: Gate = 'paper'
  eval_samples: int = 1
  eval_batch: int = 32
  save_every: int = 20
  max_unused: int = 5


@dataclasses.dataclass(frozen=True)
class Run:
  """Everything training needs, made by the entry point.

  Attributes:
    settings: plain values.
    workdir: where everything is written.
    order: step → that step's tasks.
    eval_tasks: what is evaluated.
    roller: generates and scores.
    update: the training step over micro-batches; donates the state.
    view: the jitted program from parameters to the sampler's form.
    checkpoints: of the work folder.
    writer: of metrics.
    meta: saved with every checkpoint.
    origin: what answers are signed with.
    tools: names of the configured tools.
    stop: set when the run is asked to end.
    watch: looks for signs that the policy games its reward.
  """

  settings: Settings
  workdir: str
  order: Callable[[int], Sequence[Task]]
  eval_tasks: Sequence[Task]
  roller: Roller
  update: Callable[[TrainState, list], tuple[TrainState, dict[str, jax.Array]]]
  view: Callable[[Any], Any]
  checkpoints: checkpoint.Checkpoints
  writer: metrics.Writer
  meta: dict[str, Any]
  origin: str
  tools: tuple[str, ...]
  stop: asyncio.Event
  watch: Callable[[int, Sequence[Trajectory]], dict[str, float]]


async def train(run: Run, state: TrainState, spent: float = 0.0) -> dict[str, Any]:
  """Trains to the end and returns the summary.

  Args:
    run: everything but what changes.
    state: a fresh or a restored state.
    spent: seconds that earlier parts of this run took.

  Raises:
    Interrupted: the run was asked to stop; a checkpoint of the last whole step is saved.
    TrainingError: too many steps in a row could not be used.
  """
  began, first, total = time.monotonic() - spent, int(state.step), run.settings.steps
  unused = 0
  with metrics.Progress(total, first) as progress:
    before = await evaluate(run, state, 'before', progress)
    for step in range(first, total):
      timeline = Timeline()
      trajectories = await collect(run, state, step, timeline)
      state, out = await learn(run, state, trajectories, timeline)
      scalars = record(run, step, trajectories, out, timeline)
      progress.update(step + 1, scalars)
      unused = unused + 1 if out['skipped'] else 0
      check(unused, scalars, run.settings)
      if (step + 1) % run.settings.save_every == 0 or step + 1 == total:
        save(run, state, began)
    after = await evaluate(run, state, 'after', progress)
  run.checkpoints.wait()
  return {
    'eval_before': before,
    'eval_after': after,
    'steps': int(state.step),
    'skipped': int(state.skipped),
    'seconds': round(time.monotonic() - began, 1),
    'digest': checkpoint.digest((state.params, state.optimizer)),
    'params': sum(leaf.size for leaf in jax.tree.leaves(state.params)),
  }


async def collect(run: Run, state: TrainState, step: int, timeline: Timeline) -> list[Trajectory]:
  """Rolls out the step's tasks and gives each sample its advantage within its group."""
  with timeline.span('view'):
    params = await run.roller.device.run(lambda: jax.block_until_ready(run.view(state.params)))
  work = rollout(
    run.roller, params, run.order(step), run.settings.samples, step, 'train', timeline, run.origin
  )
  trajectories = await unless_stopped(run, state, work)
  return batch.with_advantages(trajectories, run.settings.samples, run.settings.advantage)


async def learn(
  run: Run, state: TrainState, trajectories: Sequence[Trajectory], timeline: Timeline
) -> tuple[TrainState, dict[str, float]]:
  """One update from a step's trajectories."""
  settings = run.settings
  with timeline.span('update'):
    whole = batch.assemble(trajectories)
    rows = batch.share_prompts(whole, settings.samples, settings.prompt_width, settings.pieces.widths[-1])
    work = lambda: jax.block_until_ready(
      run.update(state, pieces.cut(rows, settings.pieces, settings.surrogate))
    )
    state, out = await run.roller.device.run(work)
  return state, {name: float(value) for name, value in jax.device_get(out).items()}


def record(
  run: Run, step: int, trajectories: Sequence[Trajectory], out: dict[str, float], timeline: Timeline
) -> dict[str, float]:
  """Writes the step's rollouts and its line of metrics, and returns the line."""
  rollouts.write(run.workdir, 'train', step + 1, trajectories, run.settings.weights, run.settings.gate)
  scalars = statistics.step_scalars(trajectories, run.tools)
  scalars |= {'loss/policy': out['loss'], 'grad_norm': out['grad_norm'], 'skipped': out['skipped']}
  scalars |= {
    f'policy/{name}': value for name, value in out.items() if name not in ('loss', 'grad_norm', 'skipped')
  }
  scalars |= run.roller.scoring.gauges() | run.watch(step, trajectories) | timeline.scalars()
  run.writer.write(step + 1, scalars)
  return scalars


def check(unused: int, scalars: dict[str, float], settings: Settings) -> None:
  """Ends a run in which steps in a row could not be used."""
  if unused >= settings.max_unused:
    raise TrainingError(
      f'{unused} steps in a row could not be used: {scalars["rollout/unscorable"]:.0f} samples of the last '
      f'were unscorable, its gradient norm was {scalars["grad_norm"]:.3g}; metrics.jsonl has the causes.'
    )


def save(run: Run, state: TrainState, began: float) -> None:
  """Starts a checkpoint of a whole step."""
  run.checkpoints.save(int(state.step), state, run.meta | {'seconds': time.monotonic() - began})


async def evaluate(run: Run, state: TrainState, name: str, progress: metrics.Progress) -> dict[str, Any]:
  """Scores the policy on the evaluation tasks, once per work folder and name."""
  path = pathlib.Path(run.workdir) / 'eval' / f'{name}.json'
  if path.exists():
    return json.loads(path.read_text())
  settings, step = run.settings, int(state.step)
  progress.note(
    f'Evaluating on {len(run.eval_tasks)} tasks × {settings.eval_samples} samples ({name} training).'
  )
  params = await run.roller.device.run(run.view, state.params)
  trajectories: list[Trajectory] = []
  for start in range(0, len(run.eval_tasks), settings.eval_batch):
    tasks = run.eval_tasks[start : start + settings.eval_batch]
    work = rollout(run.roller, params, tasks, settings.eval_samples, step, 'eval', Timeline(), run.origin)
    trajectories += await unless_stopped(run, state, work)
  rollouts.write(run.workdir, 'eval', step, trajectories, settings.weights, settings.gate)
  scores = statistics.evaluation(trajectories) | await run.roller.scoring.examine(step)
  files.write_atomically(path, json.dumps(scores, indent=2).encode())
  return scores


async def unless_stopped(
  run: Run, state: TrainState, work: Coroutine[Any, Any, list[Trajectory]]
) -> list[Trajectory]:
  """Awaits `work`; if the run is asked to stop first, cancels it, saves the last whole step and says so."""
  task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(run.stop.wait())
  try:
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
      return await task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
  finally:
    stopped.cancel()
  step = int(state.step)
  if step not in run.checkpoints.steps():
    save(run, state, time.monotonic())
    run.checkpoints.wait()
  raise Interrupted(f'Stopped after step {step} of {run.settings.steps}; everything up to there is saved.')
