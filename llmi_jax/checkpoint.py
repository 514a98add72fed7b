"""Checkpoints: Orbax writes the arrays, a manifest of ours says what is whole.

    checkpoints/step=N/state/…        Orbax
    checkpoints/step=N/meta.json      what else a run needs to go on
    checkpoints/step=N/manifest.json  SHA-256 of every file; synced and published last

A step without a manifest does not exist. On restore every file is checked against it; a step that fails falls
back to the one before. Nothing is pruned until a newer step is whole.
"""

import hashlib
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from llmi_jax.core.errors import CheckpointError, StorageError
from llmi_jax.services import storage

_MANIFEST = 'manifest.json'
_META = 'meta.json'


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

  def __init__(self, folder: str | os.PathLike, keep: int = 2):
    """Opens the folder; `keep` newest whole steps are kept."""
    self._folder = pathlib.Path(folder).absolute()
    self._keep = max(1, keep)
    self._writer: threading.Thread | None = None
    self._failure: StorageError | None = None
    # Copies to host memory before `save` returns, writes afterwards.
    self._orbax = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())

  def steps(self) -> list[int]:
    """Published steps, oldest first."""
    found = self._folder.glob(f'step=*/{_MANIFEST}')
    return sorted(int(path.parent.name.removeprefix('step=')) for path in found)

  def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
    """Starts to save; returns once `state` may be changed or donated.

    Raises:
      StorageError: this or the last save could not be written; older steps are untouched.
    """
    self.wait()
    target = self._folder / f'step={step}'
    with storage.storing(target):
      shutil.rmtree(target, ignore_errors=True)
      target.mkdir(parents=True)
    self._check_space(target, state)
    try:
      self._orbax.save(target / 'state', args=ocp.args.StandardSave(state))
    except (OSError, ValueError) as error:
      raise _unwritable(target, error) from error
    kept = {'meta': dict(meta), 'leaves': _leaves(state)}
    self._writer = threading.Thread(target=self._publish, args=(target, kept), name='checkpoint')
    self._writer.start()

  def wait(self) -> None:
    """Returns when the save under way is whole.

    Raises:
      StorageError: it could not be written.
    """
    if self._writer is not None:
      self._writer.join()
      self._writer = None
    if self._failure is not None:
      failure, self._failure = self._failure, None
      raise failure

  def close(self) -> None:
    """Waits and lets go of threads."""
    self.wait()
    self._orbax.close()

  def restore(self, abstract: Any) -> Restored | None:
    """The newest whole checkpoint, or None where there is none at all.

    Args:
      abstract: shapes, dtypes and shardings wanted.

    Raises:
      CheckpointError: there are checkpoints and none is whole, or the newest whole one has other shapes.
    """
    damaged: list[str] = []
    for step in reversed(self.steps()):
      target = self._folder / f'step={step}'
      if fault := _fault(target):
        damaged.append(fault)
        continue
      kept = json.loads((target / _META).read_text())
      if unlike := _unlike(kept['leaves'], _leaves(abstract)):
        raise CheckpointError(
          f'{target} does not fit this config ({unlike}); '
          'use another --workdir or the config it was made with.'
        )
      state = self._orbax.restore(target / 'state', args=ocp.args.StandardRestore(abstract))
      return Restored(step, state, kept['meta'], tuple(damaged))
    if damaged:
      raise CheckpointError(
        f'{damaged[0]} and no older checkpoint is whole; remove {self._folder} to start anew.'
      )
    return None

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

  def _publish(self, target: pathlib.Path, kept: dict[str, Any]) -> None:
    """In the writer thread: waits for Orbax, then seals the step and prunes older ones."""
    try:
      self._orbax.wait_until_finished()
      storage.write(target / _META, json.dumps(kept, indent=1).encode())
      files = sorted(path for path in target.rglob('*') if path.is_file())
      for path in files:
        _sync(path)
      digests = {str(path.relative_to(target)): _digest(path) for path in files}
      for folder in [*{path.parent for path in files}, target]:
        storage.sync_folder(folder)
      storage.write(target / _MANIFEST, json.dumps(digests, indent=1).encode())
      storage.sync_folder(target)
      storage.sync_folder(self._folder)
      self._prune()
    except StorageError as error:
      self._failure = error
    except (OSError, ValueError) as error:
      self._failure = _unwritable(target, error)

  def _prune(self) -> None:
    whole = self.steps()[-self._keep :]
    for path in self._folder.glob('step=*'):
      if int(path.name.removeprefix('step=')) not in whole:
        # Without its manifest a half-removed step does not exist.
        (path / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)


def abstract(state: Any) -> Any:
  """Shapes, dtypes and shardings of a state, as `Checkpoints.restore` wants them."""
  return jax.tree.map(ocp.utils.to_shape_dtype_struct, state)


def digest(state: Any) -> str:
  """Hex SHA-256 over a tree's arrays, in tree order: equal exactly when all bits are."""
  total = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(state)):
    total.update(leaf.tobytes())
  return total.hexdigest()


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
  words = (str(error).splitlines() or [type(error).__name__])[0][:200]
  return StorageError(f'{target} cannot be written ({words}); free some space or choose another --workdir.')


def _digest(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _fault(target: pathlib.Path) -> str:
  """What is wrong with a published step; empty if nothing is."""
  try:
    wanted = json.loads((target / _MANIFEST).read_text())
    for name, digest in wanted.items():
      path = target / name
      if not path.is_file():
        return f'{path} is missing'
      if _digest(path) != digest:
        return f'{path} is corrupt'
  except (OSError, ValueError, AttributeError) as error:
    return f'{target / _MANIFEST} cannot be read ({error})'
  return ''
