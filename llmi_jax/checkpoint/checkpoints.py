"""Checkpoints: Orbax writes the arrays, a manifest of ours says what is whole.

    checkpoints/step=N/state/…        Orbax
    checkpoints/step=N/meta.json      what else a run needs to go on, and a digest of every array
    checkpoints/step=N/manifest.json  SHA-256 of every file; hashes of config, tokenizer, data; comes last

A step without a manifest does not exist. On restore every file is checked against it and every array against
its digest; a step that fails falls back to the one before. Nothing is pruned until a newer step was read back
from disk and found whole.

With several processes all write into one folder that they share: each its arrays, the first the rest. The
first publishes when all have synced. A process that fails is named by all within seconds; one that is silent,
within `patience`.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from llmi_jax.checkpoint import manifest
from llmi_jax.checkpoint.digest import digests
from llmi_jax.checkpoint.peers import Peers
from llmi_jax.core.errors import CheckpointError, StorageError
from llmi_jax.services import storage

_META = 'meta.json'
_DAMAGED = '.damaged'
_OWNER = re.compile(r'ocdbt\.process_(\d+)/')  # whose files Orbax puts into a folder of its own


class Restored(NamedTuple):
  """A checkpoint that was read.

  Attributes:
    step: its step.
    state: arrays, shaped and placed as asked.
    meta: what was saved beside them.
    damaged: newer steps that could not be used, with the reason.
  """

  step: int
  state: Any
  meta: dict[str, Any]
  damaged: tuple[str, ...] = ()


class Checkpoints:
  """The checkpoints of one work folder. Saves run in the background, one at a time."""

  def __init__(
    self,
    folder: str | os.PathLike,
    keep: int = 2,
    about: Mapping[str, str] | None = None,
    best: int = 0,
    ranking: Callable[[], Sequence[int]] = tuple,
    patience: float = 600.0,
  ):
    """Opens the folder.

    Args:
      folder: of all processes.
      keep: so many newest whole steps are kept.
      about: what a state belongs to, such as the tokenizer → a hash of it. A step is restored only where
        those that both know are equal.
      best: so many of the best are kept although newer ones are whole.
      ranking: the steps that were evaluated, best first; asked whenever something is pruned.
      patience: seconds that a process waits for another.
    """
    self._folder = pathlib.Path(folder).absolute()
    self._keep = max(1, keep)
    self._about = dict(about or {})
    self._best, self._ranking = best, ranking
    self._writer = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='checkpoint')
    self._saving: concurrent.futures.Future[None] | None = None
    self._failed = False
    self._peers = Peers(f'llmi_jax/{self._folder}', patience)
    several = self._peers.count > 1
    # Copies to host memory before `save` returns, writes afterwards. Where processes are named, Orbax keeps
    # its barriers off the devices.
    self._orbax = ocp.AsyncCheckpointer(
      ocp.StandardCheckpointHandler(),
      timeout_secs=max(1, int(patience)),
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        active_processes=set(range(self._peers.count)) if several else None
      ),
    )

  def steps(self) -> list[int]:
    """Published steps, oldest first."""
    found = self._folder.glob(f'step=*/{manifest.NAME}')
    return sorted(step for path in found if (step := _step(path.parent)) is not None)

  def newest(self) -> list[int]:
    """Published steps that stay for being new, oldest first."""
    return self.steps()[-self._keep :]

  def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
    """Starts to save; returns once `state` may be changed or donated. To be called on the device thread.

    Raises:
      StorageError: this or the last save could not be written; older steps are untouched.
    """
    self.wait()
    target = self._folder / f'step={step}'
    try:
      self._begin(target, state)
      kept = {'meta': dict(meta), 'leaves': _leaves(state), 'digests': digests(state)}
      try:
        self._orbax.save(target / 'state', args=ocp.args.StandardSave(state))
      except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error
    except StorageError as error:
      self._failed = True
      self._peers.give_up(str(error))
      raise
    self._saving = self._writer.submit(self._finish, target, kept)

  def check(self) -> None:
    """Tells of a save in the background that has failed by now, without waiting for one that goes on.

    Raises:
      StorageError: it could not be written.
    """
    if self._saving is not None and self._saving.done():
      self.wait()

  def wait(self) -> None:
    """Returns when the save under way is whole.

    Raises:
      StorageError: it could not be written.
    """
    saving, self._saving = self._saving, None
    if saving is not None:
      self._failed |= saving.exception() is not None
      saving.result()

  def close(self) -> None:
    """Waits and lets go of threads."""
    try:
      self.wait()
    finally:
      self._writer.shutdown()
      # Orbax remembers every file that it could not write; the first of them has been told.
      with contextlib.suppress(*((OSError, ValueError) if self._failed else ())):
        self._orbax.close()

  def restore(self, abstract: Any) -> Restored | None:
    """The newest whole checkpoint, or None where there is none at all. All processes call it together.

    Args:
      abstract: shapes, dtypes and shardings wanted; the mesh need not be the one that it was saved from.

    Raises:
      CheckpointError: there are checkpoints and none is whole, or the newest whole one belongs to something
        else.
      StorageError: another process has given up, or does not answer.
    """
    damaged: list[str] = []
    for step in reversed(self._agreed_steps()):
      found = self._read(step, abstract)
      if isinstance(found, str):
        damaged.append(found)
        continue
      return found._replace(damaged=tuple(damaged))
    if damaged:
      raise CheckpointError(
        f'{damaged[0]} and no older checkpoint is whole; remove {self._folder} to start anew.'
      )
    return None

  def go_back(self, step: int) -> None:
    """Makes a restored step the newest one.

    What is newer is set aside as `step=N.damaged` and counts as kept no more; it goes when something newer is
    whole. What a killed run had no time to prune is pruned.

    Raises:
      StorageError: the folder cannot be written.
    """
    if self._peers.index == 0 and self._folder.is_dir():
      with storage.storing(self._folder):
        for path in [p for p in self._folder.glob('step=*') if (_step(p) or 0) > step]:
          aside = path.with_name(path.name + _DAMAGED)
          shutil.rmtree(aside, ignore_errors=True)
          path.rename(aside)
        storage.sync_folder(self._folder)
        self._prune(step)
    self._peers.exchange('set aside what is newer')

  def _agreed_steps(self) -> list[int]:
    """The steps that the first process sees."""
    seen = self._peers.exchange('looked for checkpoints', json.dumps(self.steps()))
    return json.loads(seen[0])

  def _read(self, step: int, abstract: Any) -> Restored | str:
    """One step, or what is wrong with it."""
    target = self._folder / f'step={step}'
    sealed = manifest.read(target)
    fault = sealed if isinstance(sealed, str) else manifest.fault(target, self._share(sealed.files))
    faults = self._peers.exchange('checked a checkpoint', fault)
    if fault := next(filter(None, faults), ''):
      return fault
    assert isinstance(sealed, manifest.Manifest)
    for name in sealed.about.keys() & self._about.keys():
      if sealed.about[name] != self._about[name]:
        raise CheckpointError(
          f'{target} was made with another {name}; use another --workdir, or restore the {name}.'
        )
    kept = json.loads((target / _META).read_text())
    if unlike := _unlike(kept['leaves'], _leaves(abstract)):
      raise CheckpointError(
        f'{target} does not fit this config ({unlike}); use another --workdir or the config it was made with.'
      )
    state, fault = None, ''
    try:
      state = self._orbax.restore(target / 'state', args=ocp.args.StandardRestore(abstract))
    except (OSError, ValueError) as error:
      fault = f'{target} cannot be read ({_first_line(error)})'
    if fault := next(filter(None, self._peers.exchange('restored a checkpoint', fault)), ''):
      return fault
    if unlike := _unlike(kept['digests'], digests(state)):
      return f'{target} holds other arrays than were saved ({unlike})'
    return Restored(step, state, kept['meta'])

  def _share(self, hashes: Mapping[str, str]) -> dict[str, str]:
    """The files that this process checks."""
    chosen = sorted(hashes)[self._peers.index :: self._peers.count]
    return {name: hashes[name] for name in chosen}

  def _begin(self, target: pathlib.Path, state: Any) -> None:
    """An empty folder with space enough, seen by all."""
    if self._peers.index == 0:
      with storage.storing(target):
        if target.exists():
          manifest.withdraw(target)
          shutil.rmtree(target)
        storage.make_folder(target)
      self._check_space(target, state)
    self._peers.exchange('begun to save')
    if not target.is_dir():
      raise StorageError(
        f'Process {self._peers.index} does not see {target}; '
        'choose a --workdir on storage that all processes share.'
      )

  def _check_space(self, target: pathlib.Path, state: Any) -> None:
    """Refuses what cannot fit, before anything of it is written."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(target).free
    if free < needed:
      target.rmdir()
      raise StorageError(
        f'{target} cannot be written: it takes up to {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; '
        'free some space or choose another --workdir.'
      )

  def _finish(self, target: pathlib.Path, kept: dict[str, Any]) -> None:
    """In the writer thread: seals the step when all have written, then prunes older ones."""
    try:
      try:
        self._written()
        if self._peers.index == 0:
          storage.write(target / _META, json.dumps(kept, indent=1).encode())
        own = manifest.sync(target, self._own(target))
        spoken = self._peers.exchange('written its part of a checkpoint', json.dumps(own))
        if self._peers.index == 0:
          self._publish(target, {name: one for words in spoken for name, one in json.loads(words).items()})
        self._peers.exchange('published a checkpoint')
      except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error
    except StorageError as error:
      self._peers.give_up(str(error))
      raise

  def _written(self) -> None:
    """Waits for Orbax; with several processes, as long as none gives up."""
    if self._peers.count == 1:
      self._orbax.wait_until_finished()
      return
    failures: list[Exception] = []

    def wait() -> None:
      try:
        self._orbax.wait_until_finished()
      except (OSError, ValueError, jax.errors.JaxRuntimeError) as error:
        failures.append(error)

    waiter = threading.Thread(target=wait, name='orbax', daemon=True)
    waiter.start()

    def done(seconds: float) -> bool:
      waiter.join(seconds)
      return not waiter.is_alive()

    self._peers.watch(done)
    for failure in failures:
      self._peers.check()  # another's failure, if there is one, is this one's cause
      raise failure if isinstance(failure, OSError | ValueError) else OSError(_first_line(failure))

  def _own(self, target: pathlib.Path) -> list[pathlib.Path]:
    """The files that this process has to sync: what only it wrote; the rest is the first's."""

    def owner(path: pathlib.Path) -> int:
      found = _OWNER.search(str(path.relative_to(target)))
      return int(found[1]) if found else 0

    return [path for path in manifest.files(target) if owner(path) == self._peers.index]

  def _publish(self, target: pathlib.Path, hashes: Mapping[str, str]) -> None:
    manifest.publish(target, hashes, self._about)
    if fault := manifest.fault(target, hashes, afresh=True):
      manifest.withdraw(target)
      raise OSError(f'{fault} right after it was written')
    self._prune(_number(target))

  def _prune(self, whole: int) -> None:
    """Removes what is neither among the newest nor among the best, `whole` having just been verified.

    What was set aside goes where that is no older.
    """
    steps = self.steps()
    best = [step for step in self._ranking() if step in steps][: self._best]
    wanted = {*self.newest(), *best}
    for path in self._folder.glob('step=*'):
      aside = path.name.endswith(_DAMAGED) and _number(path) > whole
      if _step(path) not in wanted and not aside:
        manifest.withdraw(path)  # half removed, it must not exist
        shutil.rmtree(path)


def abstract(state: Any) -> Any:
  """Shapes, dtypes and shardings of a state, as `Checkpoints.restore` wants them."""
  return jax.tree.map(ocp.utils.to_shape_dtype_struct, state)


def _number(path: pathlib.Path) -> int:
  """The step of a folder, be it set aside or not."""
  return int(path.name.removeprefix('step=').removesuffix(_DAMAGED))


def _step(path: pathlib.Path) -> int | None:
  """The step of a folder; None for what was set aside."""
  return None if path.name.endswith(_DAMAGED) else _number(path)


def _leaves(tree: Any) -> dict[str, str]:
  """Path → dtype and shape of every array."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): f'{leaf.dtype}{list(leaf.shape)}' for path, leaf in leaves}


def _unlike(kept: Mapping[str, str], wanted: Mapping[str, str]) -> str:
  """The first leaf that differs, in words; empty if none does."""
  for path in sorted(kept.keys() | wanted.keys()):
    if kept.get(path) != wanted.get(path):
      return f'{path} is {kept.get(path, "absent")} and should be {wanted.get(path, "absent")}'
  return ''


def _unwritable(target: pathlib.Path, error: Exception) -> StorageError:
  return StorageError(
    f'{target} cannot be written ({_first_line(error)}); free some space or choose another --workdir.'
  )


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
