"""The one path: tasks → rollout → advantages → batch → update → log → save; evaluations now and then."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

from llmi_jax import metrics, offload
from llmi_jax.checkpoint.digest import differing, digest
from llmi_jax.core.errors import Interrupted, TrainingError
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.data import evaluations, rollouts
from llmi_jax.rewards import audit
from llmi_jax.rollout import batch, pieces, soundness, statistics, watch
from llmi_jax.rollout.accord import Stopped
from llmi_jax.rollout.facts import Facts, facts
from llmi_jax.rollout.rollout import rollout
from llmi_jax.rollout.shown import shown
from llmi_jax.rollout.timeline import Timeline
from llmi_jax.run import Clock, Everybody, Meter, Past, Run, Settings
from llmi_jax.terminal.progress import Progress
from llmi_jax.update.rows import Micro
from llmi_jax.update.state import TrainState

T = TypeVar('T')
SETTLED = 2  # steps of a process after which everything should be compiled


async def train(run: Run, state: TrainState, past: Past = Past()) -> dict[str, Any]:
  """Trains to the end and returns the summary. All processes call it together.

  Args:
    run: everything but what changes.
    state: a fresh or a restored state.
    past: of earlier parts of this run.

  Raises:
    Interrupted: the run was asked to stop; a checkpoint of the last whole step is saved.
    TrainingError: too many steps in a row could not be used, or another process has failed.
    StorageError: something cannot be written, a checkpoint in the background included.
  """
  try:
    return await steps(run, state, past)
  except Interrupted:
    raise
  except Exception as error:
    run.accord.note(error)
    await run.roller.device.run(run.accord.leave)
    raise


async def steps(run: Run, state: TrainState, past: Past) -> dict[str, Any]:
  """The steps that are left, and the summary."""
  settings, first, total = run.settings, int(state.step), run.settings.steps
  clock, audience = Clock(past), run.audience
  with audience.screen as screen:
    progress = Progress(screen, total, first, metrics.read(run.workdir), kl=settings.surrogate.kl > 0)
    for step in range(first, total):
      if step == 0 or is_due(step, settings.eval_every):
        await evaluate(run, state, clock)
      if step == first + SETTLED:
        audience.compiles.settle()
      timeline, meter = Timeline(), Meter(run)
      screen.status(f'step {step + 1}/{total}: sampling, tools and judges …')
      trajectories = await collect(run, state, step, clock, timeline)
      everybody = await share(run, state, clock, trajectories)
      screen.status(f'step {step + 1}/{total}: updating …')
      state, out = await learn(run, state, clock, step, trajectories, timeline)
      scalars = record(run, step, trajectories, everybody, out, timeline, meter)
      progress.update(step + 1, scalars)
      clock.unused = clock.unused + 1 if out['skipped'] else 0
      run.checkpoints.check()
      if is_due(step + 1, settings.save_every) or is_due(step + 1, settings.eval_every) or step + 1 == total:
        await save(run, state, clock)
      check(clock.unused, scalars, settings)
    await evaluate(run, state, clock)
  run.checkpoints.wait()
  scores = evaluations.read(run.workdir)
  return {
    'eval_before': scores.get(0),
    'eval_after': scores.get(total),
    'steps': int(state.step),
    'skipped': int(state.skipped),
    'seconds': round(clock.seconds(), 1),
    'digest': await agreed(run, state, clock, lambda: digest(state[:2])),
    'params': sum(leaf.size for leaf in jax.tree.leaves(state.params)),
  }


def is_due(step: int, every: int) -> bool:
  """Whether what is done every so many steps is done after this one; never where that is 0."""
  return every > 0 and step % every == 0


async def collect(
  run: Run, state: TrainState, step: int, clock: Clock, timeline: Timeline
) -> list[Trajectory]:
  """Rolls out this process's tasks of the step and gives each sample its advantage within its group."""
  with timeline.span('view'):
    params = await agreed(run, state, clock, lambda: jax.block_until_ready(run.view(state.params)))
  work = rollout(
    run.roller, params, run.order(step), run.settings.samples, step, 'train', timeline, run.origin
  )
  trajectories, faults = soundness.set_aside(await unless_stopped(run, state, clock, work))
  for fault in faults:
    run.audience.screen.warn(f'{fault}; left out of step {step + 1}.')
  settings = run.settings
  return batch.with_advantages(
    trajectories, settings.samples, settings.advantage, settings.limit, settings.overlong
  )


async def share(run: Run, state: TrainState, clock: Clock, trajectories: Sequence[Trajectory]) -> Everybody:
  """What all processes' samples are worth, so that what is told of a step is told of all of it."""
  own = [facts(trajectory) for trajectory in trajectories]
  seen, gauges = list(map(watch.sample, trajectories)), run.roller.scoring.gauges()

  def work() -> Everybody:
    return Everybody(
      run.accord.records(own, Facts),
      run.accord.records(seen, audit.Sample),
      statistics.joined(run.accord.gather(gauges)),
    )

  return await agreed(run, state, clock, work)


async def learn(
  run: Run,
  state: TrainState,
  clock: Clock,
  step: int,
  trajectories: Sequence[Trajectory],
  timeline: Timeline,
) -> tuple[TrainState, dict[str, float]]:
  """One update from a step's trajectories, of which each process brings its own."""
  settings = run.settings
  with timeline.span('update'):
    # Whoever must leave says so before the state is given away.
    micros = await agreed(run, state, clock, lambda: cut(run, trajectories))

  def work() -> tuple[TrainState, dict[str, float], dict[str, int]]:
    twice = is_due(step + 1, settings.replay_every)
    kept = offload.copy(state) if twice else None
    new, out = run.update(state, micros, timeline.span)
    differ = {} if kept is None else differing(new, run.update(kept, micros)[0])
    scalars = {name: float(value) for name, value in jax.device_get(out).items()}
    return new, scalars | ({'replay_differing': float(sum(differ.values()))} if twice else {}), differ

  with timeline.span('update'):
    new, out, differ = await run.roller.device.run(work)
  if differ:
    run.audience.screen.warn(
      f'step {step + 1}, computed twice from one state, differs in {sum(differ.values())} elements '
      f'of {len(differ)} arrays ({next(iter(differ))} …): a device or a program is not to be trusted.'
    )
  if out['skipped'] and run.accord.processes == 1:
    # The state is as it was but for its counters, so the step can be asked again, a part at a time.
    refused = lambda some: bool(run.update(offload.copy(new), cut(run, some)[:1])[1]['skipped'])
    found = await run.roller.device.run(soundness.culprits, trajectories, settings.samples, refused)
    run.audience.screen.warn(f'step {step + 1} was skipped: {found}.')
  return new, out


def cut(run: Run, trajectories: Sequence[Trajectory]) -> list[Micro]:
  """This process's part of the step's micro-batches, which all processes plan alike."""
  settings, accord = run.settings, run.accord
  samples, width = settings.samples, settings.prompt_width
  whole = batch.assemble(trajectories, shaping=settings.overlong)
  rows = batch.share_prompts(whole, samples, width, settings.pieces.widths[-1])
  album = batch.pictures(whole, samples, width, run.roller.sight.eyes, settings.pieces.shards)
  lengths = accord.gather(np.reshape(rows.length, (-1, samples)).tolist())
  totals = np.sum([np.array(t) for t in accord.gather(pieces.totals(rows, settings.pieces).tolist())], 0)
  weights = pieces.weights(rows, settings.pieces, settings.surrogate, totals)
  plan = pieces.plan(np.array(lengths), settings.pieces)
  return pieces.cut(rows, plan, accord.process, weights, album)


def record(
  run: Run,
  step: int,
  trajectories: Sequence[Trajectory],
  everybody: Everybody,
  out: dict[str, float],
  timeline: Timeline,
  meter: Meter,
) -> dict[str, float]:
  """Writes this process's rollouts of the step and, in the first, its line of metrics; returns the line."""
  settings, accord = run.settings, run.accord
  rollouts.write(
    run.workdir, 'train', step + 1, trajectories, settings.weights, settings.gate, accord.process
  )
  scalars = statistics.step_scalars(everybody.facts, run.tools)
  scalars |= batch.group_scalars(everybody.facts, settings.samples)
  scalars |= {'loss/policy': out['loss'], 'grad_norm': out['grad_norm'], 'skipped': out['skipped']}
  own = ('loss', 'grad_norm', 'skipped')
  scalars |= {f'policy/{name}': value for name, value in out.items() if name not in own}
  scalars |= everybody.gauges | run.watch(step, everybody.seen) | timeline.scalars()
  scalars |= meter.scalars(scalars['time/step'])
  if accord.first:
    run.writer.write(step + 1, scalars)
  tell(run, step + 1, scalars, trajectories, timeline)
  return scalars


def tell(
  run: Run, step: int, scalars: dict[str, float], trajectories: Sequence[Trajectory], timeline: Timeline
) -> None:
  """Shows the sinks a step; samples now and then, of different prompts."""
  settings, sinks = run.settings, run.audience.sinks
  sinks.spans(step, timeline.spans())
  if not run.accord.first:
    return
  sinks.scalars(step, metrics.plain(scalars))
  if step == 1 or is_due(step, settings.shown_every):
    sinks.samples(step, list(map(shown, trajectories[:: settings.samples][: settings.shown])))


def check(unused: int, scalars: dict[str, float], settings: Settings) -> None:
  """Ends a run in which steps in a row could not be used."""
  if unused >= settings.max_unused:
    raise TrainingError(
      f'{unused} steps in a row could not be used: {scalars["rollout/unscorable"]:.0f} samples of the last '
      f'were unscorable, its gradient norm was {scalars["grad_norm"]:.3g}; metrics.jsonl and the warnings '
      'above have the causes.'
    )


async def save(run: Run, state: TrainState, clock: Clock) -> None:
  """Starts a checkpoint of a whole step; replies that no newest step would ask for again are dropped."""
  work = lambda: run.checkpoints.save(int(state.step), state, run.meta | clock.meta())
  await agreed(run, state, clock, work)
  if newest := run.checkpoints.newest():
    await asyncio.to_thread(run.forget, newest[0])


async def leave(run: Run, state: TrainState, clock: Clock) -> NoReturn:
  """Sees to it that the last whole step is saved, and ends the run."""
  run.checkpoints.wait()
  step = int(state.step)
  saved = await run.roller.device.run(run.accord.gather, step in run.checkpoints.steps())
  if not saved[0]:
    await save(run, state, clock)
    run.checkpoints.wait()
  raise Interrupted(f'Stopped after step {step} of {run.settings.steps}; everything up to there is saved.')


async def evaluate(run: Run, state: TrainState, clock: Clock) -> None:
  """Scores the policy on the evaluation tasks, once per work folder and step."""
  settings, step = run.settings, int(state.step)
  done = evaluations.path(run.workdir, step).exists()
  if (await agreed(run, state, clock, lambda: run.accord.gather(done)))[0]:
    return
  if run.accord.first:
    run.audience.screen.say(
      f'Evaluating on {len(run.eval_tasks)} tasks × {settings.eval_samples} samples (after step {step}).'
    )
  params = await agreed(run, state, clock, lambda: run.view(state.params))
  trajectories: list[Trajectory] = []
  for start in range(0, len(run.eval_tasks), settings.eval_batch):
    tasks = run.eval_tasks[start : start + settings.eval_batch]
    work = rollout(run.roller, params, tasks, settings.eval_samples, step, 'eval', Timeline(), run.origin)
    found, faults = soundness.set_aside(await unless_stopped(run, state, clock, work))
    for fault in faults:
      run.audience.screen.warn(f'{fault}; left out of the evaluation.')
    trajectories += found
  rollouts.write(run.workdir, 'eval', step, trajectories, settings.weights, settings.gate, run.accord.process)
  own = list(map(facts, trajectories))
  found = await agreed(run, state, clock, lambda: run.accord.records(own, Facts))
  if run.accord.first:
    scores = statistics.evaluation(found) | await run.roller.scoring.examine(step)
    evaluations.write(run.workdir, step, scores)


async def agreed(run: Run, state: TrainState, clock: Clock, work: Callable[[], T]) -> T:
  """Work on the device thread that all processes begin together; where one is to stop, all save and leave."""

  def together() -> T:
    run.accord.wait()
    return work()

  try:
    return await run.roller.device.run(together)
  except Stopped:
    await leave(run, state, clock)


async def unless_stopped(
  run: Run, state: TrainState, clock: Clock, work: Coroutine[Any, Any, list[Trajectory]]
) -> list[Trajectory]:
  """Awaits `work`; if the run is asked to stop first, cancels it, saves the last whole step and says so."""
  task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(run.stop.wait())
  try:
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
      return await task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await run.roller.device.run(run.accord.leave)
  except Stopped:
    pass
  finally:
    stopped.cancel()
  await leave(run, state, clock)
