"""What a run says about itself in numbers: `metrics.jsonl` and `summary.json`."""

import json
import math
import numbers
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from llmi_jax.core.errors import DataError
from llmi_jax.services import storage
from llmi_jax.services.files import write_atomically

METRICS = 'metrics.jsonl'
SUMMARY = 'summary.json'


class Writer:
  """Appends one JSON object per step to `metrics.jsonl`, which is the record: failing to write it raises.

  A line that a killed run left half-written is dropped at start.
  """

  def __init__(self, workdir: str | os.PathLike):
    self._workdir = pathlib.Path(workdir)
    self._path = self._workdir / METRICS
    _mend(self._path)

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Appends `{"step": step, **scalars}`; values that are not finite, and None, become null.

    Raises:
      StorageError: the line cannot be written.
    """
    scalars = plain(scalars)
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

  def truncate_after(self, step: int) -> None:
    """Drops later steps, as a run does that goes back to a checkpoint."""
    kept = [line for line in read(self._workdir) if line['step'] <= step]
    if self._path.exists():
      write_atomically(self._path, b''.join(json.dumps(line).encode() + b'\n' for line in kept))

  def summarize(self, summary: Mapping[str, Any]) -> None:
    """Writes `summary.json`, whole or not at all."""
    write_atomically(self._workdir / SUMMARY, (json.dumps(_finite(summary), indent=2) + '\n').encode())


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


def duration(seconds: float) -> str:
  """Such as `42s`, `7m05s` or `3h07m`."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}h{minutes:02d}m'
  return f'{minutes}m{rest:02d}s' if minutes else f'{rest}s'


def _mend(path: pathlib.Path) -> None:
  """Drops a last line without its end."""
  if path.exists():
    data = path.read_bytes()
    if data and not data.endswith(b'\n'):
      write_atomically(path, data[: data.rfind(b'\n') + 1])


def plain(scalars: Mapping[str, Any]) -> dict[str, float | int | None]:
  """Plain numbers; None where there is none or it is not finite."""
  return {name: _number(value) for name, value in scalars.items()}


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
