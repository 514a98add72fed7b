"""What a run says about itself in numbers: `metrics.jsonl`, TensorBoard, `summary.json`, the terminal."""

import json
import logging
import math
import numbers
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

import rich.console
import rich.progress

from llmi_jax.core.errors import DataError
from llmi_jax.services import storage
from llmi_jax.services.files import write_atomically

METRICS = 'metrics.jsonl'
SUMMARY = 'summary.json'
WIDTH = 160  # columns of a plain line, at most
_PHASES = ('prefill', 'decode', 'update', 'idle', 'tools', 'judge')


class Writer:
  """Appends one JSON object per step and mirrors it to TensorBoard.

  `metrics.jsonl` is the record: failing to write it raises. TensorBoard is a view: failing to write that
  warns once and training goes on. A line that a killed run left half-written is dropped at start.
  """

  def __init__(self, workdir: str | os.PathLike):
    self._workdir = pathlib.Path(workdir)
    self._path = self._workdir / METRICS
    self._board = _Board(self._workdir / 'tb')
    _mend(self._path)

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Appends `{"step": step, **scalars}`; values that are not finite, and None, become null.

    Raises:
      StorageError: the line cannot be written.
    """
    scalars = {name: _number(value) for name, value in scalars.items()}
    line = json.dumps({'step': int(step), **scalars}, allow_nan=False)
    with storage.storing(self._path):
      new = not self._path.exists()
      storage.make_folder(self._path.parent)
      with open(self._path, 'a', encoding='utf-8') as file:
        file.write(line + '\n')
        file.flush()
        os.fsync(file.fileno())  # a checkpoint must not outlive the lines of its steps
      if new:
        storage.sync_folder(self._path.parent)
    self._board.write(int(step), scalars)

  def truncate_after(self, step: int) -> None:
    """Drops later steps, as a run does that goes back to a checkpoint."""
    kept = [line for line in read(self._workdir) if line['step'] <= step]
    if self._path.exists():
      write_atomically(self._path, b''.join(json.dumps(line).encode() + b'\n' for line in kept))
    self._board.reopen(step + 1)

  def summarize(self, summary: Mapping[str, Any]) -> None:
    """Writes `summary.json`, whole or not at all."""
    write_atomically(self._workdir / SUMMARY, (json.dumps(_finite(summary), indent=2) + '\n').encode())

  def close(self) -> None:
    self._board.close()


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """The lines of `metrics.jsonl`; none where there is no file.

  A last line without its end, as a killed run leaves it, is left out.

  Raises:
    DataError: a line is no JSON object with a step.
  """
  path = pathlib.Path(workdir) / METRICS
  if not path.exists():
    return []
  whole, _, _ = path.read_bytes().rpartition(b'\n')
  lines = []
  for number, text in enumerate(whole.splitlines(), 1):
    try:
      line = json.loads(text)
      int(line['step'])
    except (ValueError, TypeError, KeyError) as error:
      raise DataError(f'Line {number} of {path} is no JSON object with a step; remove it.') from error
    lines.append(line)
  return lines


def read_summary(workdir: str | os.PathLike) -> dict[str, Any]:
  """`summary.json`; empty while a run is unfinished."""
  path = pathlib.Path(workdir) / SUMMARY
  if not path.exists():
    return {}
  try:
    return json.loads(path.read_bytes())
  except ValueError as error:
    raise DataError(f'{path} is no JSON; remove it and evaluate again.') from error


class Progress:
  """Shows step, reward, tokens/s, the seconds of each phase and the time left.

  Used as a context manager. On a terminal it is a bar that redraws itself; elsewhere, plain lines without
  escape codes: the first and the last step always, others at most every `every` seconds.
  """

  def __init__(
    self, total: int, start: int = 0, stream: TextIO | None = None, every: float = 5.0, process: int = 0
  ):
    """Makes one.

    Args:
      total: steps.
      start: of them already done, as after a resume.
      stream: where it is shown.
      every: seconds between two plain lines.
      process: of several; those behind the first only note what is amiss, under their number.
    """
    self._process = process
    self._total = total
    self._first = start
    self._stream = stream or sys.stderr
    self._every = every
    self._began = time.monotonic()
    self._spoke = -float('inf')
    self._bar: rich.progress.Progress | None = None

  def __enter__(self) -> 'Progress':
    self._began = time.monotonic()
    if self._stream.isatty() and os.environ.get('TERM') != 'dumb' and not self._process:
      bar = self._bar = _bar(self._stream)
      bar.add_task('train', total=self._total, completed=self._first, status='')
      bar.start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    if self._bar is not None:
      self._bar.stop()

  def update(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Tells of a finished step, `step` being how many are done; `scalars` are those of `metrics.jsonl`."""
    if self._process:
      return
    now = time.monotonic()
    done = step - self._first
    left = (now - self._began) / done * (self._total - step) if done > 0 else None
    if self._bar is not None:
      self._bar.update(rich.progress.TaskID(0), completed=step, status=status(scalars, left))
    elif now - self._spoke >= self._every or done == 1 or step >= self._total:
      self._spoke = now
      self._say(f'step {step}/{self._total}  {status(scalars, left)}')

  def note(self, text: str) -> None:
    """Prints a line without disturbing the bar."""
    if self._bar is not None:
      self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
      self._say(f'Process {self._process}: {text}' if self._process else text)

  def _say(self, text: str) -> None:
    print(text[:WIDTH], file=self._stream, flush=True)


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
      line = f'{self._label}: {done / 1e9:.1f} of {total / 1e9:.1f} GB'
      print(line[:WIDTH], file=self._stream, flush=True)


def status(scalars: Mapping[str, Any], left: float | None = None) -> str:
  """The part of a line that follows the step; what a step does not have is left out."""
  seconds = {name: scalars.get(f'time/{name}') for name in _PHASES}
  tokens = scalars.get('rollout/tokens')
  generating = (seconds['prefill'] or 0.0) + (seconds['decode'] or 0.0)
  words = []
  if (reward := scalars.get('reward/mean')) is not None:
    words.append(f'reward {reward:.3f}')
  if tokens and generating:
    words.append(f'{_short(tokens / generating)} tok/s')
  words += [f'{name} {value:.1f}s' for name, value in seconds.items() if value is not None]
  if (whole := scalars.get('time/step')) is not None:  # less than the sum where phases overlap
    words.append(f'step {whole:.1f}s')
  if left is not None:
    words.append(f'ETA {duration(left)}')
  return '  '.join(words)


def duration(seconds: float) -> str:
  """Such as `42s`, `7m05s` or `3h07m`."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}h{minutes:02d}m'
  return f'{minutes}m{rest:02d}s' if minutes else f'{rest}s'


class _Board:
  """A TensorBoard event file, written in the calling thread and opened at the first write.

  tensorboardX's own writer hands events to a thread through a bounded queue; where that thread dies of a full
  disk, the next writes block for ever.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._events: Any = None
    self._broken = False
    self._purge: int | None = None

  def reopen(self, purge: int) -> None:
    """The next write opens a new file that hides events of steps from `purge` on."""
    self.close()
    self._purge = purge

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    if self._broken:
      return
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    values = [
      Summary.Value(tag=name, simple_value=value) for name, value in scalars.items() if value is not None
    ]
    try:
      self._events = self._events or self._open()
      self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
      self._events.flush()
    except OSError as error:
      self._broken = True
      logging.warning('TensorBoard events are no longer written to %s: %s.', self._folder, error.strerror)

  def close(self) -> None:
    events, self._events = self._events, None
    if events is not None and not self._broken:
      events.close()

  def _open(self) -> Any:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

    self._folder.mkdir(parents=True, exist_ok=True)
    # The process and a running number keep two files of one second apart.
    suffix = f'.{os.getpid()}.{sum(1 for _ in self._folder.iterdir())}'
    events = EventsWriter(str(self._folder / 'events'), suffix)
    if self._purge is not None:
      log = SessionLog(status=SessionLog.START)
      events.write_event(Event(wall_time=time.time(), step=self._purge, session_log=log))
    return events


def _mend(path: pathlib.Path) -> None:
  """Drops a last line without its end."""
  if path.exists():
    data = path.read_bytes()
    if data and not data.endswith(b'\n'):
      write_atomically(path, data[: data.rfind(b'\n') + 1])


def _number(value: Any) -> float | int | None:
  """A plain number from a Python, NumPy or JAX scalar; None where it is none or not finite."""
  if value is None:
    return None
  number = int(value) if isinstance(value, numbers.Integral) else float(value)
  return number if math.isfinite(number) else None


def _finite(value: Any) -> Any:
  """JSON has no NaN; null stands for it."""
  if isinstance(value, Mapping):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  if isinstance(value, bool | int | str) or value is None:
    return value
  return _number(value)


def _short(number: float) -> str:
  return f'{number / 1000:.1f}k' if number >= 1000 else f'{number:.0f}'


def _bar(stream: TextIO) -> rich.progress.Progress:
  return rich.progress.Progress(
    rich.progress.TextColumn('step'),
    rich.progress.MofNCompleteColumn(),
    rich.progress.BarColumn(bar_width=20),
    rich.progress.TextColumn('{task.fields[status]}', markup=False),
    console=rich.console.Console(file=stream),
    transient=False,
  )
