"""What every call of a run came to, on disk before it is used, so that a resumed run replays it.

One file per process, `journal/process-<n>.jsonl`: a checksum and a JSON array per line, appended, fsynced.
Pictures go to `images/<sha256>.png` before the line that names them. Failures are kept like successes.

A run that restores step s keeps the replies of later steps: it makes the same calls again and must get the
same answers. `discard_from` is for runs that want new answers instead.
"""

import asyncio
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Literal

from llmi_jax.core.errors import DataError, StorageError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.verdict import Verdict
from llmi_jax.services import records, storage

_DIGEST = 16  # hex digits of SHA-256 before each line


@dataclasses.dataclass(frozen=True)
class Entry:
  """A call's place in the run.

  Attributes:
    kind: what was called.
    step: training step.
    task: the task's id.
    sample: index among the task's samples in this step.
    call: image position of a tool call; a judge's name.
    vote: variant of a tool call; index of a judge's vote.
  """

  kind: Literal['tool', 'judge', 'chat']
  step: int
  task: str
  sample: int
  call: int | str
  vote: int = 0


@dataclasses.dataclass
class _Order:
  """Work for the writer thread: a reply to append, or something to do between two commits."""

  done: concurrent.futures.Future[None]
  replies: dict[Entry, Any] = dataclasses.field(default_factory=dict)
  pictures: tuple[Image, ...] = ()
  action: Callable[[], None] | None = None


class Journal:
  """The replies of a run. `put` from any thread's event loop; one thread writes."""

  def __init__(self, folder: pathlib.Path | str, process: int = 0, processes: int = 1):
    """Opens or makes the journal of a work folder.

    Args:
      folder: the work folder; `journal/` and `images/` are made in it.
      process: this process's index.
      processes: how many there are; files of a former, larger count are adopted by `index % processes`.

    Raises:
      DataError: a line before the last is damaged.
      StorageError: the folder cannot be written.
    """
    self._folder = pathlib.Path(folder) / 'journal'
    self._pictures = storage.PictureFolder(pathlib.Path(folder) / 'images')
    with storage.storing(self._folder):
      storage.make_folder(self._folder)
      storage.sweep(self._folder)
    self._own = self._file(process)
    self._adopted = (process, processes)
    self._replies: dict[Entry, Any] = {}
    self._load()
    self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
    self._writer = threading.Thread(target=self._write, name='journal', daemon=True)
    self._writer.start()

  def get(self, entry: Entry, cls: Any = ToolOutcome | Verdict) -> Any:
    """The reply kept for `entry`, or None.

    Raises:
      DataError: the reply or a picture of it cannot be read.
    """
    data = self._replies.get(entry)
    return None if data is None else records.decode(cls, data, self._pictures.get)

  async def put(self, entry: Entry, record: Any):
    """Returns when the reply and its pictures are on disk to stay; puts at the same time share one fsync.

    Raises:
      StorageError: the disk is full or broken.
    """
    pictures = tuple(records.pictures(record))
    order = _Order(concurrent.futures.Future(), {entry: records.encode(record)}, pictures)
    self._give(order)
    await asyncio.wrap_future(order.done)

  def trim(self, before_step: int):
    """Drops replies of earlier steps: they are behind the oldest checkpoint that is kept."""
    self._retain(lambda entry: entry.step >= before_step)

  def discard_from(self, step: int):
    """Drops replies of `step` and later, so that a resumed run calls anew."""
    self._retain(lambda entry: entry.step < step)

  def close(self):
    """Waits for the writer; puts that were under way are on disk."""
    self._orders.put(None)
    self._writer.join()

  def _retain(self, wanted: Callable[[Entry], bool]):
    order = _Order(concurrent.futures.Future(), action=lambda: self._rewrite(wanted))
    self._give(order)
    order.done.result()

  def _give(self, order: _Order):
    if not self._writer.is_alive():
      raise StorageError(f'The journal {self._own} is closed; open it again.')
    order.done.set_running_or_notify_cancel()  # whoever waits may leave, the reply is written all the same
    self._orders.put(order)

  # The rest runs in the writer thread, or before it starts.

  def _write(self):
    while (order := self._orders.get()) is not None:
      batch = [order]
      while order.action is None and not self._orders.empty():
        order = self._orders.get()
        if order is None:
          self._orders.put(None)
          break
        batch.append(order)
      self._commit(batch)

  def _commit(self, batch: list[_Order]):
    """Makes a batch durable, then tells those who wait for it."""
    try:
      replies = {entry: record for order in batch for entry, record in order.replies.items()}
      if replies:
        self._pictures.put(image for order in batch for image in order.pictures)
        self._append(b''.join(_line(entry, record) for entry, record in replies.items()))
        self._replies |= replies
      for order in batch:
        if order.action:
          order.action()
    except BaseException as error:
      for order in batch:
        order.done.set_exception(error)
      if not isinstance(error, StorageError | DataError):
        raise
    else:
      for order in batch:
        order.done.set_result(None)

  def _append(self, data: bytes):
    with storage.storing(self._own):
      new = not self._own.exists()
      descriptor = os.open(self._own, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
      start = os.fstat(descriptor).st_size
      try:
        storage.write_all(descriptor, data)
        os.fsync(descriptor)
      except OSError:
        os.ftruncate(descriptor, start)  # half a batch must not precede the next one
        raise
      finally:
        os.close(descriptor)
      if new:
        storage.sync_folder(self._folder)

  def _load(self):
    for path in sorted(self._folder.glob('process-*.jsonl')):
      replies, length = _read(path)
      if path == self._own and length < path.stat().st_size:
        with storage.storing(path):
          os.truncate(path, length)
      self._replies |= replies

  def _rewrite(self, wanted: Callable[[Entry], bool]):
    """Keeps what is wanted in the files that are this process's to change."""
    process, processes = self._adopted
    for path in self._folder.glob('process-*.jsonl'):
      if int(path.stem.removeprefix('process-')) % processes != process:
        continue
      kept = {entry: record for entry, record in _read(path)[0].items() if wanted(entry)}
      if kept or path == self._own:
        storage.write(path, b''.join(_line(entry, record) for entry, record in kept.items()))
      else:
        path.unlink()
    with storage.storing(self._folder):
      storage.sync_folder(self._folder)
    self._replies = {entry: record for entry, record in self._replies.items() if wanted(entry)}

  def _file(self, process: int) -> pathlib.Path:
    return self._folder / f'process-{process}.jsonl'


def _line(entry: Entry, record: Any) -> bytes:
  key = [entry.kind, entry.step, entry.task, entry.sample, entry.call, entry.vote]
  text = json.dumps([key, record], separators=(',', ':')).encode()
  return _digest(text) + b' ' + text + b'\n'


def _digest(text: bytes) -> bytes:
  return hashlib.sha256(text).hexdigest()[:_DIGEST].encode()


def _read(path: pathlib.Path) -> tuple[dict[Entry, Any], int]:
  """The replies of a file and the length of its whole part; a torn end is left out.

  Raises:
    DataError: a bad line is followed by a good one, so the file was changed after it was written.
  """
  replies: dict[Entry, Any] = {}
  length = 0
  torn = None
  data = path.read_bytes()
  position = 0
  for number, line in enumerate(data.split(b'\n'), 1):
    position += len(line) + 1
    text = line[_DIGEST + 1 :]
    whole = position <= len(data) and line[: _DIGEST + 1] == _digest(text) + b' '
    if whole and torn is not None:
      raise DataError(f'{path} is damaged in line {torn}; remove the file to make its calls anew.')
    if whole:
      key, record = json.loads(text)
      replies[Entry(*key)] = record
      length = position
    elif line and torn is None:
      torn = number
  return replies, length
