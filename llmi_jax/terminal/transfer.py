"""Shows how far a long read or write is."""

import os
import sys
import time
from types import TracebackType
from typing import TextIO

import rich.console
import rich.filesize
import rich.progress


class Transfer:
  """Shows how many bytes of a long read or write are done; a context manager that is called with them.

  On a terminal it is a bar that goes when it is done; elsewhere a plain line at most every `every` seconds,
  and none for what takes less.
  """

  def __init__(self, label: str, stream: TextIO | None = None, every: float = 5.0):
    self._label = label
    self._stream = stream or sys.stderr
    self._every = every
    self._spoke = time.monotonic()
    self._bar: rich.progress.Progress | None = None

  def __enter__(self) -> 'Transfer':
    self._spoke = time.monotonic()
    if self._stream.isatty() and os.environ.get('TERM') != 'dumb':
      columns = (rich.progress.BarColumn(bar_width=20), rich.progress.DownloadColumn())
      self._bar = rich.progress.Progress(
        rich.progress.TextColumn('{task.description}', markup=False),
        *columns,
        rich.progress.TransferSpeedColumn(),
        console=rich.console.Console(file=self._stream),
        transient=True,
      )
      self._bar.add_task(self._label)
      self._bar.start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    if self._bar is not None:
      self._bar.stop()

  def __call__(self, done: int, total: int) -> None:
    """Tells of `done` bytes of `total`."""
    now = time.monotonic()
    if self._bar is not None:
      self._bar.update(rich.progress.TaskID(0), completed=done, total=total)
    elif now - self._spoke >= self._every:
      self._spoke = now
      line = f'{self._label}: {rich.filesize.decimal(done)} of {rich.filesize.decimal(total)}'
      print(line, file=self._stream, flush=True)
