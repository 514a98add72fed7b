"""Faults put in on purpose: what the kill images must find, or they prove nothing."""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from unittest import mock

import jax
import jax.numpy as jnp

from llmi_jax import main, offload, trainer
from llmi_jax.checkpoint import manifest
from llmi_jax.checkpoint.checkpoints import Checkpoints
from llmi_jax.services import storage
from llmi_jax.services.journal import Journal


@contextlib.contextmanager
def files_unsynced() -> Iterator[None]:
  """A step is published without its files being synced."""
  with mock.patch.object(manifest, '_sync', lambda path: None):
    yield


@contextlib.contextmanager
def folders_unsynced() -> Iterator[None]:
  """Folders are made without a word to the one that they lie in."""
  with mock.patch.object(storage, 'make_folder', lambda folder: folder.mkdir(parents=True, exist_ok=True)):
    yield


@contextlib.contextmanager
def manifest_first() -> Iterator[None]:
  """A step is published when its files begin to be written."""
  finish = Checkpoints._finish

  def early(self, target, kept):
    manifest.publish(target, {}, {})
    finish(self, target, kept)

  with mock.patch.object(Checkpoints, '_finish', early):
    yield


@contextlib.contextmanager
def pruned_first() -> Iterator[None]:
  """Older steps go before the newer one is published."""
  publish = Checkpoints._publish

  def late(self, target, hashes):
    for step in self.steps():
      manifest.withdraw(self._folder / f'step={step}')
    publish(self, target, hashes)

  with mock.patch.object(Checkpoints, '_publish', late):
    yield


@contextlib.contextmanager
def best_forgotten() -> Iterator[None]:
  """The best step is pruned like any other."""
  start = Checkpoints.__init__

  @functools.wraps(start)
  def without(self, folder, keep, about, best, ranking):
    start(self, folder, keep, about)

  with mock.patch.object(Checkpoints, '__init__', without):
    yield


@contextlib.contextmanager
def scalar_unrestored() -> Iterator[None]:
  """The optimizer counts its steps from nothing again after a resumption."""
  restore = main.restore

  def partly(run, fresh):
    state, past = restore(run, fresh)
    counts = jax.tree.map(lambda x: jnp.zeros_like(x) if x.ndim == 0 else x, state.optimizer)
    return state._replace(optimizer=counts), past

  with mock.patch.object(main, 'restore', partly):
    yield


@contextlib.contextmanager
def step_skipped() -> Iterator[None]:
  """A resumed run goes on one step later than it should, as long as there is one."""
  restore = main.restore

  def later(run, fresh):
    state, past = restore(run, fresh)
    skip = 0 < int(state.step) < run.settings.steps - 1
    return state._replace(step=state.step + int(skip)), past

  with mock.patch.object(main, 'restore', later):
    yield


@contextlib.contextmanager
def used_first() -> Iterator[None]:
  """Replies are used before they are in the journal."""
  put = Journal.put
  waiting: set[asyncio.Task[None]] = set()

  async def soon(self, entry, record):
    async def after_use() -> None:
      await asyncio.sleep(0.05)
      await put(self, entry, record)

    waiting.add(asyncio.create_task(after_use()))

  with mock.patch.object(Journal, 'put', soon):
    yield


def _rolled_out(change) -> contextlib.AbstractContextManager:
  """The trajectories of the second training step are changed before anybody sees them."""
  real = trainer.rollout

  async def rollout(roller, params, tasks, samples, step, stream, *rest):
    if (stream, step) != ('train', 1):
      return await real(roller, params, tasks, samples, step, stream, *rest)
    return await change(lambda view: real(roller, view, tasks, samples, step, stream, *rest), params)

  return mock.patch.object(trainer, 'rollout', rollout)


@contextlib.contextmanager
def reward_not_finite() -> Iterator[None]:
  """A reward is NaN."""

  async def change(rollout, params):
    first, *rest = await rollout(params)
    return [dataclasses.replace(first, reward=float('nan')), *rest]

  with _rolled_out(change):
    yield


@contextlib.contextmanager
def logits_not_finite() -> Iterator[None]:
  """The sampler computes with NaN."""

  async def change(rollout, params):
    return await rollout(jax.tree.map(lambda leaf: leaf * jnp.asarray(jnp.nan, leaf.dtype), params))

  with _rolled_out(change):
    yield


@contextlib.contextmanager
def gradient_not_finite() -> Iterator[None]:
  """One sample's gradient is not finite."""
  real = trainer.batch.with_advantages

  def advantages(trajectories, *rest):
    made = real(trajectories, *rest)
    if trajectories[0].step == 1:
      made[1] = dataclasses.replace(made[1], reward=0.5, advantage=float('inf'))
    return made

  with mock.patch.object(trainer.batch, 'with_advantages', advantages):
    yield


@contextlib.contextmanager
def replayed() -> Iterator[None]:
  """No fault: every step is computed twice."""
  real = main.make_run

  def make_run(*arguments):
    run = real(*arguments)
    return dataclasses.replace(run, settings=dataclasses.replace(run.settings, replay_every=1))

  with mock.patch.object(main, 'make_run', make_run):
    yield


@contextlib.contextmanager
def replayed_otherwise() -> Iterator[None]:
  """Every step is computed twice, the second time with a bit that has flipped."""
  real = offload.copy

  def flipped(state):
    leaves, form = jax.tree.flatten(real(state))
    at = next(i for i, leaf in enumerate(leaves) if leaf.size > 100)
    leaves[at] = leaves[at].at[(0,) * leaves[at].ndim].add(1e-3)
    return jax.tree.unflatten(form, leaves)

  with replayed(), mock.patch.object(offload, 'copy', flipped):
    yield


PLANTS = {'none': contextlib.nullcontext} | {
  plant.__name__: plant
  for plant in (
    files_unsynced,
    folders_unsynced,
    manifest_first,
    pruned_first,
    best_forgotten,
    scalar_unrestored,
    step_skipped,
    used_first,
    reward_not_finite,
    logits_not_finite,
    gradient_not_finite,
    replayed,
    replayed_otherwise,
  )
}
