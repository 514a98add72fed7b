"""A real run, made small: the tiny policy, the built-in tools and judges, the trainer; built once, run often.

    python -m tests.faults.world     # takes orders as JSON lines on standard input, each answered by a line

An order names a folder; the run in it is begun or gone on with, to its end. All runs of a process share what
does not depend on the folder: policy, compiled programs, sandbox.
"""

import asyncio
import contextlib
import contextvars
import ctypes
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import sys
import time
import traceback
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from configs import grpo_tiny
from llmi_jax import audience, judging, main, metrics, rewarding, toolbox, trainer, wiring
from llmi_jax.checkpoint.digest import digest
from llmi_jax.core.errors import LlmiError
from llmi_jax.data import evaluations, rollouts
from llmi_jax.data.builtin import generate
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.rollout import Roller
from llmi_jax.services.journal import Journal
from llmi_jax.terminal.compiles import Compiles
from llmi_jax.terminal.screen import Screen
from llmi_jax.tools.dispatch import Dispatcher
from tests.faults import plants

TASKS = 3
HELD = 4  # the task on which the second step is better than the last
_CALL: contextvars.ContextVar[str] = contextvars.ContextVar('call')


def config() -> Any:
  """Three steps of one prompt and two samples, a checkpoint after each, an evaluation after the second.

  Adapters alone are trained: a checkpoint then has every kind of file, and few of them.
  """
  made = grpo_tiny.get_config()
  made.policy.lora.rank, made.policy.lora.targets = 1, ('mlp.down',)
  made.steps = 3
  made.data.prompts, made.data.samples = 1, 2
  made.sampler.tokens = 96
  made.optimizer.prompts, made.optimizer.widths = 1, (96,)
  made.eval.samples, made.eval.every = 1, 2
  made.checkpoint.every, made.checkpoint.keep, made.checkpoint.best = 1, 1, 1
  return made.lock()


class Shim:
  """The recording library, where it is loaded; nothing otherwise."""

  def __init__(self):
    self._library = ctypes.CDLL(None) if 'shim' in os.environ.get('LD_PRELOAD', '') else None

  def start(self, folder: pathlib.Path, log: str | None) -> None:
    if self._library is not None:
      assert self._library.shim_start(str(folder).encode(), log.encode() if log else None) == 0

  def fail(self, at: int, number: int, on: bool, part: str) -> None:
    assert self._library is not None
    self._library.shim_fail(ctypes.c_long(at), number, int(on), part.encode())

  def failed(self) -> int:
    return self._library.shim_failed() if self._library is not None else 0

  def mark(self, words: str) -> None:
    if self._library is not None:
      self._library.shim_mark(words.encode())

  def stop(self) -> None:
    if self._library is not None:
      self._library.shim_stop()


class Told(Dispatcher):
  """Tells which calls reach a tool, and which replies are used."""

  def __init__(self, *args: Any, shim: Shim, made: list[str], **options: Any):
    super().__init__(*args, **options)
    self._shim, self._made = shim, made

  async def run(self, call, images, key, candidates, variant):
    name = f'{key.task}/{key.step}/{key.sample}/{call.position}'.replace('\t', ' ')
    _CALL.set(name)
    outcome = await super().run(call, images, key, candidates, variant)
    self._shim.mark(f'used {name}')
    return outcome

  async def _attempt(self, tool, params, context, content):
    self._made.append(_CALL.get())
    self._shim.mark(f'called {_CALL.get()}')
    return await super()._attempt(tool, params, context, content)


@dataclasses.dataclass
class World:
  """What runs share."""

  config: Any
  policy: wiring.Policy
  device: Device
  registry: Any
  bench: Any
  parts: dict[str, Any]
  shim: Shim
  said: list[str] = dataclasses.field(default_factory=list)

  async def run(self, folder: pathlib.Path, restore_only: bool = False) -> dict[str, Any]:
    """Begins or goes on with the run in a folder, as `main.run` does; or looks what it would go on from."""
    made: list[str] = []
    self.said.clear()
    # An update gives away what it gets, the first parameters included.
    policy = dataclasses.replace(self.policy, model=jax.tree.map(jnp.copy, self.policy.model))
    chosen, stop = rewarding.reward(self.config.reward), asyncio.Event()
    train, held = generate.tasks('train')[:TASKS], generate.tasks('test')[HELD : HELD + 1]
    main.check_workdir(folder, self.config)
    main.claim_workdir(folder, self.config, self.parts['roller'].accord)
    journal = Journal(folder)
    saved = main.open_checkpoints(self.config, folder, policy, None, train, held)
    writer = metrics.Writer(folder)
    screen = Screen(io.StringIO())
    seen = audience.audience(self.config, folder, screen, Compiles(screen), policy.config, 0)
    try:
      dispatcher = Told(self.registry, seed=self.config.seed, journal=journal, shim=self.shim, made=made)
      roller = dataclasses.replace(
        self.parts['roller'], scoring=rewarding.scoring(dispatcher, chosen, self.bench, self.config.seed)
      )
      names = tuple(spec.name for spec in self.registry.specs)
      run = main.make_run(
        self.config, folder, policy, None, roller, saved, writer, names, stop,
        train, held, chosen, lambda step, trajectories: {}, journal.trim, seen,
      )  # fmt: skip
      self.parts.setdefault('update', run.update)
      self.parts.setdefault('view', run.view)
      run = dataclasses.replace(run, update=self.parts['update'], view=self.parts['view'], origin='run')
      params, optimizer = wiring.split(policy, self.config)[0], wiring.optimizer(self.config)
      state, past = main.restore(run, wiring.fresh_state(params, policy, optimizer))
      found = {'began': int(state.step), 'restored': digest(state)}
      if restore_only:
        return found
      with mock.patch.object(Screen, 'say', lambda screen, text: self.said.append(text)):
        summary = await trainer.train(run, state, past)
      writer.summarize(summary)
      steps = saved.steps()
    finally:
      journal.close()
      seen.sinks.close()
      saved.close()
    said = [words for words in self.said if words.startswith('Warning')]
    return found | {'state': told(folder, summary, steps), 'calls': made, 'said': said}


def told(folder: pathlib.Path, summary: dict[str, Any], steps: list[int]) -> dict[str, Any]:
  """Everything that two runs must have in common, and nothing that a clock has a part in."""
  lines = [
    {name: value for name, value in line.items() if not name.startswith('time/')}
    for line in metrics.read(folder)
  ]
  rows = []
  for row in rollouts.read(folder / 'rollouts'):
    pictures = [piece.picture.sha256 for piece in row.answer if piece.picture]
    arrays = [hashlib.sha256(a.tobytes()).hexdigest() for a in (row.tokens, row.mask, row.logp_sampled)]
    rows.append([row.id, row.completion, row.reward, row.advantage, pictures, arrays])
  for sha256 in {name for row in rows for name in row[4]}:
    assert hashlib.sha256((folder / 'images' / f'{sha256}.png').read_bytes()).hexdigest() == sha256
  leftovers = [path.name for path in folder.rglob('*') if path.suffix in ('.part', '.damaged')]
  return {
    'summary': {name: value for name, value in summary.items() if name != 'seconds'},
    'metrics': lines,
    'rollouts': rows,
    'evaluations': {str(step): scores for step, scores in evaluations.read(folder).items()},
    'checkpoints': steps,
    'folders': sorted(path.name for path in (folder / 'checkpoints').iterdir()),
    'leftovers': leftovers,
  }


@contextlib.asynccontextmanager
async def opened():
  """Builds a world; closing it stops the sandbox."""
  made, shim = config(), Shim()
  policy = wiring.with_adapters(wiring.load_policy(made.policy.path), made)
  device = Device()
  async with toolbox.registry(made.tools, device) as registry:
    async with judging.bench(made.reward, None, None) as bench:
      roller = Roller(
        device,
        wiring.engine(policy, made, made.data.prompts, made.data.samples),
        wiring.language(policy, registry, made.prompt),
        None,  # pyright: ignore[reportArgumentType]  every run has its own
        made.seed,
        made.sampler.tokens,
        wiring.sight(policy),
      )
      try:
        yield World(made, policy, device, registry, bench, {'roller': roller}, shim)
      finally:
        device.close()


async def obey(world: World, order: dict[str, Any]) -> dict[str, Any]:
  """One order: run in `folder`, recorded into `log`, with a planted fault and a failing disk."""
  folder = pathlib.Path(order['folder'])
  began = time.monotonic()
  world.shim.start(folder, order.get('log'))
  try:
    if 'fail' in order:
      world.shim.fail(**order['fail'])
    with plants.PLANTS[order.get('plant', 'none')]():
      found = await world.run(folder, order.get('restore_only', False))
  except LlmiError as error:
    found = {'error': f'{type(error).__name__}: {error}'}
  # Whatever else a damaged folder or a planted fault makes of a run is found out by whoever gave the order.
  except Exception as error:  # noqa: BLE001
    found = {'crash': ''.join(traceback.format_exception(error))[-2000:]}
  finally:
    failed = world.shim.failed()
    world.shim.stop()
  lines = len(metrics.read(folder))
  return found | {'seconds': time.monotonic() - began, 'failed': failed, 'lines': lines}


async def serve() -> None:
  """Takes orders until standard input ends."""
  async with opened() as world:
    print(json.dumps({'ready': True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
      answer = await obey(world, json.loads(line))
      sys.stdout.write(json.dumps(answer) + '\n')
      sys.stdout.flush()


if __name__ == '__main__':
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_compilation_cache_dir', os.environ['LLMI_TEST_XLA'])
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
  main.front.logging.set_verbosity(main.front.logging.FATAL)
  asyncio.run(serve())
