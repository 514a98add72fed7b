"""Trains a policy.

    python -m llmi_jax.main --config=configs/grpo_tiny.py [--workdir=DIR] [--config.KEY=VALUE …]

The work folder holds everything: config.json, metrics.jsonl, rollouts, pictures, checkpoints, summary.json
and report.html. The same command goes on where a stopped or killed run left off. Exit code 0 when training is
complete, 2 after an error, 130 when it was asked to stop.
"""

import asyncio
import hashlib
import json
import pathlib
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import jax
from absl import flags

from llmi_jax import (
  course,
  forms,
  front,
  judging,
  metrics,
  pods,
  rebuild,
  rewarding,
  speaking,
  toolbox,
  trainer,
  updating,
  wiring,
)
from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import digest
from llmi_jax.core.errors import ConfigError, Interrupted, TrainingError
from llmi_jax.core.task import Task
from llmi_jax.data import evaluations, rollouts
from llmi_jax.data.batching import Batching
from llmi_jax.report import page
from llmi_jax.rewards.presets import Preset
from llmi_jax.rollout.accord import Accord, Stopped
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller
from llmi_jax.rollout.watch import Watch
from llmi_jax.run import Past, Run, Settings
from llmi_jax.services import files, records, storage
from llmi_jax.services.cache import Cache
from llmi_jax.services.journal import Journal
from llmi_jax.update.state import TrainState

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default runs/CONFIG.')
# Keys that may change between parts of one run without changing what it computes: how often it is saved or
# evaluated, where its judges are and how they are reached.
_REACHED = (
  'urls|key_env|canaries|concurrency|per_minute|seconds|attempt_seconds|attempts|retry_wait|retry_share'
)
FREE = re.compile(
  r'checkpoint\.|distributed\.|mesh\.|eval\.every |reward\.cache |reward\.local\.rows |'
  rf'reward\.remote\.\w+\.({_REACHED}) '
)


def main(config: wiring.Config) -> None:
  """Trains to the end, or goes on with a run that was begun."""
  train(config, pathlib.Path(WORKDIR.value or pathlib.Path('runs') / config_name()))


def train(config: wiring.Config, workdir: pathlib.Path) -> None:
  """The same, with the folder given."""
  course.settle(config)
  check_workdir(workdir, config)
  pods.join(config.distributed)
  try:
    _train(config, workdir)
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    words = (str(error).splitlines() or [''])[0][:200]
    raise TrainingError(
      f'Another process was lost ({words}); start all of them again with the same command, which goes on '
      'from the last checkpoint.'
    ) from error
  finally:
    pods.leave()


def _train(config: wiring.Config, workdir: pathlib.Path) -> None:
  jax.config.update('jax_compilation_cache_dir', str(cache_folder()))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
  try:
    summary = asyncio.run(run(config, workdir))
  except Interrupted as error:
    told = f' Report: {page.build(workdir)}.' if jax.process_index() == 0 else ''
    raise Interrupted(f'{error}{told} The same command goes on.') from None
  if jax.process_index():
    return
  built = page.build(workdir)
  rewards = [(summary[name] or {}).get('reward') for name in ('eval_before', 'eval_after')]
  before, after = ('unknown' if reward is None else f'{reward:.3f}' for reward in rewards)
  print(f'Reward {before} → {after} in {summary["steps"]} steps.')
  print(f'Report: {built}')


def rebuild_policy(config: wiring.Config, workdir: pathlib.Path) -> None:
  """Makes the policy in the work folder, if the config asks for it and it is not there yet."""
  folder = workdir / 'policy'
  if config.policy.form and not folder.exists():
    forms.make(folder, config.policy.form, seed=config.seed)
  if config.policy.rebuild and not folder.exists():
    rebuild.make(folder, config.policy.rebuild, seed=config.seed)


def config_name() -> str:
  """The config file's name without its ending."""
  return pathlib.Path(flags.FLAGS.config.partition(':')[0]).stem


def cache_folder() -> pathlib.Path:
  """Where compiled programs are kept between runs."""
  return pathlib.Path.home() / '.cache' / 'llmi_jax' / 'xla'


def check_workdir(workdir: pathlib.Path, config: wiring.Config) -> None:
  """Refuses a folder that holds a run of another config.

  Raises:
    ConfigError: it does; the keys that differ are named.
  """
  path = workdir / 'config.json'
  if not path.exists():
    return
  changed = [d for d in front.difference(config, path.read_text()) if not FREE.match(d)]
  if changed:
    raise ConfigError(
      f'{workdir} holds a run of another config ({"; ".join(changed[:3])}); '
      'choose another --workdir, or restore the values.'
    )


def claim_workdir(workdir: pathlib.Path, config: wiring.Config, accord: Accord) -> None:
  """Makes the folder this config's; called once everything that it names has been read.

  Raises:
    ConfigError: the processes do not share the folder.
  """
  path = workdir / 'config.json'
  if accord.first and not path.exists():
    files.write_atomically(path, json.dumps(json.loads(config.to_json()), indent=2).encode())
  accord.wait()
  if not path.exists():
    raise ConfigError(
      f'Process {accord.process} does not see {path}, which process 0 has written; let --workdir be a folder '
      'that all processes share.'
    )


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
  if config.data.prompts % accord.processes:
    raise ConfigError(
      f'config.data.prompts is {config.data.prompts} and there are {accord.processes} processes; '
      'let their number divide it.'
    )
  if config.policy.rebuild or config.policy.form:
    raise ConfigError(
      'config.policy.rebuild and config.policy.form make a policy in one process; run it alone first, set '
      "config.policy.path to the folder policy of its work folder, and leave both keys at 0 and ''."
    )


async def run(config: wiring.Config, workdir: pathlib.Path) -> dict[str, Any]:
  """Builds everything, trains, and returns the summary."""
  accord, stop = Accord(), asyncio.Event()

  def ask() -> None:
    accord.stop()
    stop.set()

  for number in (signal.SIGINT, signal.SIGTERM):
    asyncio.get_running_loop().add_signal_handler(number, ask)
  try:
    return await run_together(config, workdir, accord, stop)
  except (Interrupted, Stopped) as error:
    raise Interrupted(str(error) or 'Stopped before the first step.') from None
  except Exception as error:
    accord.note(error)
    accord.leave()
    raise


async def run_together(
  config: wiring.Config, workdir: pathlib.Path, accord: Accord, stop: asyncio.Event
) -> dict[str, Any]:
  """The same, with whom it is done and when it is to end."""
  check_accord(config, workdir, accord)
  layouts = pods.layouts(config.mesh, jax.devices(), accord.processes)
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
        layouts,
      )
      accord.wait()
      params, optimizer = wiring.split(policy, config)[0], wiring.optimizer(config)
      state, past = restore(made, wiring.fresh_state(params, policy, optimizer, layouts.train))
      summary = await trainer.train(made, state, past)
      if accord.first:
        writer.summarize(summary)
      return summary
  finally:
    device.close()
    journal.close()
    writer.close()
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


def hashed(value: Any) -> str:
  """SHA-256 of a value's JSON."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
  run.accord.wait()
  if found is None:
    return fresh, Past()
  for fault in found.damaged:
    print(f'Warning: {fault}; going back to step {step}.', file=sys.stderr)
  print(f'Resuming {run.workdir} after step {step} of {run.settings.steps}.', file=sys.stderr)
  return found.state, Past(found.meta['seconds'], found.meta['unused'])


if __name__ == '__main__':
  front.run(main)
