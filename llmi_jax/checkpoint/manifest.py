"""What makes a step exist: a manifest with the SHA-256 of every file, synced and published last.

Orbax alone restores flipped bits silently and syncs little: its metadata may be lost in a power cut after a
step counts as committed.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from llmi_jax.services import storage

NAME = 'manifest.json'
_HASHERS = 4
_VERSION = 1


class Manifest(NamedTuple):
  """A published step's manifest.

  Attributes:
    files: path within the step's folder → SHA-256.
    about: what the step belongs to (config, tokenizer, data …) → a hash of it.
  """

  files: dict[str, str]
  about: dict[str, str]


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Every file below a step's folder but the manifest, in order."""
  return sorted(path for path in folder.rglob('*') if path.is_file() and path.name != NAME)


def sync(folder: pathlib.Path, paths: Iterable[pathlib.Path]) -> dict[str, str]:
  """Makes files durable and returns their hashes, by path within `folder`.

  Raises:
    OSError: the disk is full or broken.
  """
  paths = list(paths)
  for path in paths:
    _sync(path)
  with concurrent.futures.ThreadPoolExecutor(_HASHERS) as hashers:
    hashes = hashers.map(_digest, paths)
    return {str(path.relative_to(folder)): digest for path, digest in zip(paths, hashes)}


def publish(folder: pathlib.Path, hashes: Mapping[str, str], about: Mapping[str, str]) -> None:
  """Makes the step exist, once its files are durable.

  Raises:
    OSError, StorageError: the disk is full or broken.
  """
  for inner in sorted({path.parent for path in folder.rglob('*')}, reverse=True):
    storage.sync_folder(inner)
  storage.sync_folder(folder.parent)
  body = {'version': _VERSION, 'about': dict(about), 'files': dict(sorted(hashes.items()))}
  storage.write(folder / NAME, json.dumps(body | {'seal': _seal(body)}, indent=1).encode())
  storage.sync_folder(folder)


def withdraw(folder: pathlib.Path) -> None:
  """Makes the step not exist, before its files go."""
  (folder / NAME).unlink(missing_ok=True)
  storage.sync_folder(folder)


def read(folder: pathlib.Path) -> Manifest | str:
  """A published step's manifest, or what is wrong with it."""
  path = folder / NAME
  try:
    body = json.loads(path.read_text())
    seal = body.pop('seal')
    if seal != _seal(body):
      return f'{path} is corrupt'
    if body['version'] != _VERSION:
      return f'{path} is of version {body["version"]} and {_VERSION} is read'
    return Manifest(body['files'], body['about'])
  except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
    return f'{path} cannot be read ({type(error).__name__}: {error})'


def fault(folder: pathlib.Path, hashes: Mapping[str, str], afresh: bool = False) -> str:
  """What is wrong with a step's files; empty if nothing is.

  Args:
    folder: the step's.
    hashes: by path, as `Manifest.files` has them; those that are to be checked.
    afresh: asks the disk, not the memory that the files were written from.
  """

  def one(entry: tuple[str, str]) -> str:
    path = folder / entry[0]
    try:
      if not path.is_file():
        return f'{path} is missing'
      return '' if _digest(path, afresh) == entry[1] else f'{path} is corrupt'
    except OSError as error:
      return f'{path} cannot be read ({error.strerror})'

  with concurrent.futures.ThreadPoolExecutor(_HASHERS) as hashers:
    return next(filter(None, hashers.map(one, sorted(hashes.items()))), '')


def _seal(body: Mapping[str, Any]) -> str:
  return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _digest(path: pathlib.Path, afresh: bool = False) -> str:
  with path.open('rb') as file:
    if afresh:  # written pages that are synced may be dropped, so that reading asks the disk
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
