"""Trains a policy.

    python -m llmi_jax.main --config=configs/grpo_tiny.py [--workdir=DIR] [--config.KEY=VALUE …]

The work folder holds everything: config.json, starts.jsonl, metrics.jsonl, rollouts, pictures, checkpoints,
logs, summary.json and report.html. The same command goes on where a stopped or killed run left off. Exit code
0 when training is complete, 2 after an error, 130 when it was asked to stop.

`--sweep=config.KEY=VALUE,VALUE` runs all values one after the other, `--dry_run` beside it prints the
commands; `--estimate_memory` prints what a device must hold.
"""

import asyncio
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from absl import flags

from llmi_jax import (
  audience,
  budget,
  closing,
  compilation,
  course,
  forms,
  front,
  judging,
  metrics,
  pods,
  rebuild,
  rewarding,
  speaking,
  sweeping,
  toolbox,
  trainer,
  updating,
  wiring,
)
from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import digest
from llmi_jax.claim import FREE, check_workdir, claim_workdir, hashed
from llmi_jax.config import listing, plain
from llmi_jax.core.errors import ConfigError, Interrupted
from llmi_jax.core.task import Task
from llmi_jax.data import evaluations, rollouts
from llmi_jax.data.batching import Batching
from llmi_jax.rewards.presets import Preset
from llmi_jax.rollout.accord import Accord, Stopped
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller
from llmi_jax.rollout.watch import Watch
from llmi_jax.run import Audience, Past, Run, Settings
from llmi_jax.services import home, records, storage
from llmi_jax.services.cache import Cache
from llmi_jax.services.journal import Journal
from llmi_jax.terminal import memory
from llmi_jax.terminal.compiles import Compiles
from llmi_jax.terminal.diversion import Diversion
from llmi_jax.terminal.screen import Screen
from llmi_jax.update.state import TrainState

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default runs/CONFIG.')
SWEEP = flags.DEFINE_multi_string(
  'sweep', [], 'Run all values, such as config.loss.ratio=token,sequence; may be given for several keys.'
)
DRY = flags.DEFINE_bool('dry_run', False, 'With --sweep: print the commands, and end.')
ESTIMATE = flags.DEFINE_bool('estimate_memory', False, 'Print what a device must hold, and end.')


def main(config: wiring.Config) -> None:
  """Trains to the end, or goes on with a run that was begun."""
  name = config_name() + ('-sweep' if SWEEP.value else '')
  workdir = pathlib.Path(WORKDIR.value or pathlib.Path('runs') / name)
  if SWEEP.value:
    sys.exit(sweeping.run(SWEEP.value, workdir, DRY.value))
  if ESTIMATE.value:
    print(memory.budget(budget.parts(config, config.policy.path)))
    return
  train(config, workdir)


def train(config: wiring.Config, workdir: pathlib.Path) -> None:
  """The same, with the folder given."""
  course.settle(config)
  check_workdir(workdir, config)
  updating.geometry(config, config.distributed.processes).check()
  audience.trackers(config)
  claimed: list[bool] = []
  with audience.gathered() as (diversion, screen, compiles), closing.ended(screen, workdir, claimed):
    try:
      pods.join(config.distributed)
      screen.process = jax.process_index()
      with closing.explained(config, workdir):
        _train(config, workdir, Told(diversion, screen, compiles, claimed))
    finally:
      pods.leave()


class Told(NamedTuple):
  """Who is told of a run before it is made.

  Attributes:
    diversion: of the standard error.
    screen: people.
    compiles: compilations.
    claimed: gets an item once the work folder is this run's.
  """

  diversion: Diversion
  screen: Screen
  compiles: Compiles
  claimed: list[bool]


def _train(config: wiring.Config, workdir: pathlib.Path, told: Told) -> None:
  compilation.keep(home.cache('xla'))
  if changed := plain.changes(front.read(front.CONFIG.value), config):
    told.screen.say(f'Differs from {front.CONFIG.value}: {" ".join(listing.said(*one) for one in changed)}')
  summary = asyncio.run(run(config, workdir, told))
  if jax.process_index():
    return
  rewards = [(summary[name] or {}).get('reward') for name in ('eval_before', 'eval_after')]
  before, after = ('unknown' if reward is None else f'{reward:.3f}' for reward in rewards)
  took = metrics.duration(summary['seconds'])
  print(f'Reward {before} → {after} in {summary["steps"]} steps, {took}.', flush=True)


def rebuild_policy(config: wiring.Config, workdir: pathlib.Path) -> None:
  """Makes the policy in the work folder, if the config asks for it and it is not there yet."""
  folder = workdir / 'policy'
  if config.policy.form and not folder.exists():
    forms.make(folder, config.policy.form, seed=config.seed)
  if config.policy.rebuild and not folder.exists():
    rebuild.make(folder, config.policy.rebuild, seed=config.seed)


def config_name() -> str:
  """The config file's name without its ending."""
  return pathlib.Path(str(front.CONFIG.value).partition(':')[0]).stem


def check_accord(config: wiring.Config, workdir: pathlib.Path, accord: Accord) -> None:
  """Refuses what several processes cannot do together.

  Raises:
    ConfigError: naming the key.
  """
  if accord.processes == 1:
    return
  own = [str(workdir), hashed([item for item in front.flatten(config) if item[0] != 'distributed.process'])]
  different = [i for i, other in enumerate(accord.gather(own)) if other[1] != own[1]]
  if different:
    raise ConfigError(
      f'Process {different[0]} has another config than process {accord.process}; start all with the same '
      'values but for config.distributed.process.'
    )
  if config.policy.rebuild or config.policy.form:
    raise ConfigError(
      'config.policy.rebuild and config.policy.form make a policy in one process; run it alone first, set '
      "config.policy.path to the folder policy of its work folder, and leave both keys at 0 and ''."
    )


async def run(config: wiring.Config, workdir: pathlib.Path, told: Told) -> dict[str, Any]:
  """Builds everything, trains, and returns the summary."""
  accord, stop = Accord(), asyncio.Event()

  def ask() -> None:
    accord.stop()
    stop.set()

  for number in (signal.SIGINT, signal.SIGTERM):
    asyncio.get_running_loop().add_signal_handler(number, ask)
  try:
    return await run_together(config, workdir, accord, stop, told)
  except (Interrupted, Stopped) as error:
    raise Interrupted(f'{str(error) or "Stopped before the first step."} The same command goes on.') from None
  except Exception as error:
    accord.note(error)
    accord.leave()
    raise


async def run_together(
  config: wiring.Config, workdir: pathlib.Path, accord: Accord, stop: asyncio.Event, told: Told
) -> dict[str, Any]:
  """The same, with whom it is done and when it is to end."""
  check_accord(config, workdir, accord)
  layouts = pods.layouts(config.mesh, jax.devices(), accord.processes)
  geometry = updating.geometry(config, accord.processes, layouts.shards)
  geometry.check()
  told.screen.say(geometry.line())
  train_tasks, eval_tasks = course.tasks(config)
  rebuild_policy(config, workdir)
  source = wiring.policy_source(config, workdir)
  policy = wiring.load_policy(source, config.prompt.pixels, layouts.train)
  policy = wiring.with_adapters(policy, config, layouts.train)
  shown = next((task.id for task in (*train_tasks, *eval_tasks) if task.input_images), None)
  if accord.processes > 1 and policy.processor is not None and shown:
    raise ConfigError(
      f'Requests with pictures ({shown}) are trained on in one process; leave such tasks out, or use one.'
    )
  chosen = rewarding.reward(config.reward)
  claim_workdir(workdir, config, accord)
  told.claimed.append(True)
  told.diversion.settle(workdir, accord.process, accord.processes > 1)
  seen = audience.audience(config, workdir, told.screen, told.compiles, policy.config, accord.process)
  journal, device = Journal(workdir, accord.process, accord.processes), Device()
  reference = updating.reference(config, policy)
  saved = open_checkpoints(config, workdir, policy, reference, train_tasks, eval_tasks)
  writer = metrics.Writer(workdir)
  try:
    cache = Cache(workdir / 'cache', config.tools.cache)
    verdicts = Cache(config.reward.cache, config.tools.cache) if config.reward.cache else cache
    async with (
      toolbox.registry(config.tools, device) as registry,
      speaking.judge(config.reward, device) as here,
      judging.bench(config.reward, journal, verdicts, here, accord.processes) as bench,
    ):
      dispatcher = toolbox.dispatcher(registry, config.tools, journal, cache, config.seed, accord.processes)
      roller = Roller(
        device,
        course.engine(config, policy, layouts.rollout, accord),
        wiring.language(policy, registry, config.prompt),
        rewarding.scoring(dispatcher, chosen, bench, config.seed),
        config.seed,
        config.sampler.tokens,
        wiring.sight(policy),
        accord,
      )
      names = tuple(spec.name for spec in registry.specs)
      watch = Watch(config.checkpoint.every, bench.held_out)
      made = make_run(
        config,
        workdir,
        policy,
        reference,
        roller,
        saved,
        writer,
        names,
        stop,
        train_tasks,
        eval_tasks,
        chosen,
        watch,
        journal.trim,
        seen,
        layouts,
      )
      accord.wait()
      params, optimizer = wiring.split(policy, config)[0], wiring.optimizer(config)
      state, past = restore(made, wiring.fresh_state(params, policy, optimizer, layouts.train))
      watch.recall(workdir)
      summary = await trainer.train(made, state, past)
      if accord.first:
        writer.summarize(summary)
      return summary
  finally:
    device.close()
    journal.close()
    seen.sinks.close()
    saved.close()


def make_run(
  config: wiring.Config,
  workdir: pathlib.Path,
  policy: wiring.Policy,
  reference: Any,
  roller: Roller,
  saved: Checkpoints,
  writer: metrics.Writer,
  names: tuple[str, ...],
  stop: asyncio.Event,
  train_tasks: list[Task],
  eval_tasks: list[Task],
  chosen: Preset,
  watch: Watch,
  forget: Callable[[int], None],
  seen: Audience,
  layouts: pods.Layouts = pods.ALONE,
) -> Run:
  """The trainer's view of a config."""
  settings = Settings(
    steps=config.steps,
    samples=config.data.samples,
    prompt_width=config.prompt.tokens,
    pieces=updating.micro_batches(config, layouts.shards),
    surrogate=updating.surrogate(config),
    advantage=config.loss.advantage,
    limit=config.sampler.tokens,
    overlong=updating.overlong(config),
    weights=chosen.weights,
    gate=chosen.gate,
    eval_samples=config.eval.samples,
    eval_batch=config.eval.batch,
    eval_every=config.eval.every,
    save_every=config.checkpoint.every,
    replay_every=config.checkpoint.replay,
    shown_every=config.sinks.every,
    shown=config.sinks.samples,
    max_unused=config.unusable,
  )
  order = Batching(train_tasks, config.data.prompts, config.seed)
  return Run(
    settings=settings,
    workdir=str(workdir),
    order=order.step,
    eval_tasks=eval_tasks,
    roller=roller,
    update=updating.updater(config, policy, reference, layouts.train),
    view=course.viewer(config, policy, layouts.rollout),
    checkpoints=saved,
    writer=writer,
    meta={'seed': config.seed},
    origin=str(workdir),
    tools=names,
    stop=stop,
    watch=watch,
    forget=forget,
    audience=seen,
  )


def open_checkpoints(
  config: wiring.Config,
  workdir: pathlib.Path,
  policy: wiring.Policy,
  reference: Any,
  train_tasks: list[Task],
  eval_tasks: list[Task],
) -> Checkpoints:
  """The work folder's checkpoints, bound to what their states belong to."""
  fixed = wiring.split(policy, config)[1]
  about = {
    'config': hashed([item for item in front.flatten(config) if not FREE.match(f'{item[0]} ')]),
    'tokenizer': policy.tokenizer.digest,
    'training tasks': hashed([records.encode(task) for task in train_tasks]),
    'evaluation tasks': hashed([records.encode(task) for task in eval_tasks]),
  }
  if fixed is not None:
    about['policy'] = digest(fixed)  # adapters mean nothing without what they adapt
  if reference is not None:
    about['reference'] = digest(reference)
  return Checkpoints(
    workdir / 'checkpoints',
    config.checkpoint.keep,
    about,
    config.checkpoint.best,
    lambda: evaluations.ranking(workdir),
  )


def restore(run: Run, fresh: TrainState) -> tuple[TrainState, Past]:
  """The newest whole checkpoint's state, or a fresh one; and what earlier parts of the run left.

  What a killed run wrote after that checkpoint (metrics, rollouts, evaluations) is removed: it is made again.
  """
  found = run.checkpoints.restore(abstract(fresh))
  step = found.step if found else 0
  run.checkpoints.go_back(step)
  if run.accord.first:
    storage.sweep(pathlib.Path(run.workdir), deep=False)
    run.writer.truncate_after(step)
    rollouts.remove_after(run.workdir, step)
    evaluations.remove_after(run.workdir, step)
  run.audience.sinks.go_back(step)
  run.accord.wait()
  if found is None:
    return fresh, Past()
  for fault in found.damaged:
    run.audience.screen.warn(f'{fault}; going back to step {step}.')
  run.audience.screen.say(f'Resuming {run.workdir} after step {step} of {run.settings.steps}.')
  return found.state, Past(found.meta['seconds'], found.meta['unused'])


if __name__ == '__main__':
  front.run(main)
