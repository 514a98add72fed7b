"""Successful replies on disk, by content: shared by runs and processes, bounded, never torn.

One file holds one reply: a SHA-256 digest, then the record as JSON, then the pictures it names. A file is
written whole or not at all and checked when read, so a kill, a full disk or a flipped bit costs one entry.
"""

import contextlib
import hashlib
import json
import pathlib
from typing import Any

from llmi_jax.core.errors import DataError
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.verdict import Verdict
from llmi_jax.services import records, storage

_SHRINK_TO = 0.9


def content_key(kind: str, **parts: Any) -> str:
  """Hex digest of what a reply depends on.

  Args:
    kind: `tool`, `judge` or `chat`.
    **parts: JSON-able; provider, model, parameters as executed, hashes of pictures, seed, variant or vote.
  """
  text = json.dumps({'kind': kind} | parts, sort_keys=True, ensure_ascii=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()


class Cache:
  """A folder of replies. Safe for several processes and threads."""

  def __init__(self, folder: pathlib.Path | str, max_bytes: int = 4 << 30, read_only: bool = False):
    """Opens or makes the folder.

    Args:
      folder: where the entries are.
      max_bytes: the oldest entries go when this is passed.
      read_only: `put` does nothing, for exact replay.

    Raises:
      StorageError: the folder cannot be made.
    """
    self._folder = pathlib.Path(folder)
    self._max_bytes = max_bytes
    self._read_only = read_only
    self._bytes = 0
    if not read_only:
      with storage.storing(self._folder):
        self._folder.mkdir(parents=True, exist_ok=True)
        storage.sweep(self._folder)
      self._bytes = sum(size for _, size, _ in self._entries())

  def get(self, key: str, cls: Any = ToolOutcome | Verdict) -> Any:
    """The reply kept for `key`, or None. A damaged entry is none, and is removed."""
    path = self._path(key)
    try:
      data = path.read_bytes()
    except FileNotFoundError:
      return None
    try:
      return _unpack(data, cls)
    except DataError:
      if not self._read_only:
        path.unlink(missing_ok=True)
      return None

  def put(self, key: str, record: Any):
    """Keeps a reply, durably.

    Raises:
      StorageError: the disk is full or broken.
    """
    if self._read_only:
      return
    path = self._path(key)
    data = _pack(record)
    with storage.storing(path):
      path.parent.mkdir(exist_ok=True)
      storage.write(path, data)
      storage.sync_folder(path.parent)
    self._bytes += len(data)
    if self._bytes > self._max_bytes:
      self._evict()

  def _path(self, key: str) -> pathlib.Path:
    return self._folder / key[:2] / key

  def _entries(self) -> list[tuple[float, int, pathlib.Path]]:
    """(time of writing, bytes, path), oldest first."""
    found = []
    for path in self._folder.glob('??/*'):
      with contextlib.suppress(FileNotFoundError):  # evicted by another process
        status = path.stat()
        found.append((status.st_mtime, status.st_size, path))
    return sorted(found)

  def _evict(self):
    """Counts afresh, since other processes write too, and removes the oldest entries."""
    entries = self._entries()
    self._bytes = sum(size for _, size, _ in entries)
    for _, size, path in entries:
      if self._bytes <= self._max_bytes * _SHRINK_TO:
        return
      path.unlink(missing_ok=True)
      self._bytes -= size


def _pack(record: Any) -> bytes:
  images = {image.sha256: image.png for image in records.pictures(record)}
  sizes = {sha256: len(png) for sha256, png in images.items()}
  head = json.dumps({'record': records.encode(record), 'pictures': sizes}).encode() + b'\n'
  body = head + b''.join(images.values())
  return hashlib.sha256(body).hexdigest().encode() + b'\n' + body


def _unpack(data: bytes, cls: Any) -> Any:
  digest, _, body = data.partition(b'\n')
  if hashlib.sha256(body).hexdigest().encode() != digest:
    raise DataError('The cache entry is damaged; remove it.')
  head, _, rest = body.partition(b'\n')
  entry = json.loads(head)
  images = {}
  for sha256, size in entry['pictures'].items():
    images[sha256], rest = rest[:size], rest[size:]
  return records.decode(cls, entry['record'], images.__getitem__)
