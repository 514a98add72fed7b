"""Keeps others' noise from the screen: whatever is written to the standard error goes to the run's log.

That is Python's logging and warnings as well as what compilers, drivers and their threads print themselves.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from llmi_jax.core.errors import LlmiError
from llmi_jax.services import storage

FOLDER = 'logs'
_STDERR = 2
_FORM = '%(asctime)s %(levelname)s %(name)s: %(message)s'


class Diversion:
  """The standard error's way while it is diverted.

  Attributes:
    stream: what still reaches people.
  """

  def __init__(self, stream: TextIO, held: BinaryIO, log: '_Log'):
    self.stream = stream
    self._held, self._log = held, log

  def settle(self, workdir: pathlib.Path, process: int = 0, several: bool = False) -> None:
    """Lets the log be a file of the work folder; until then it is held beside it.

    Args:
      workdir: whose.
      process: this one's number.
      several: whether there are others; where one is lost, JAX ends the rest from a thread of its own, and
        what it prints then is all that is said of it. So standard error is the screen again.

    Raises:
      StorageError: it cannot be written.
    """
    path = workdir / FOLDER / f'process={process}.log'
    with storage.storing(path):
      storage.make_folder(path.parent)
      with open(path, 'ab') as file:
        self._copy(file)
        if several:
          self._log.descriptor = os.dup(file.fileno())
        os.dup2(self.stream.fileno() if several else file.fileno(), _STDERR)

  def give_back(self) -> None:
    """Shows what is held: what went wrong may stand in it."""
    self.stream.flush()
    with open(self.stream.fileno(), 'wb', closefd=False) as screen:
      self._copy(screen)

  def _copy(self, target: BinaryIO) -> None:
    sys.stderr.flush()
    self._held.seek(0)
    shutil.copyfileobj(self._held, target)
    self._held.truncate(0)


@contextlib.contextmanager
def diverted() -> Iterator[Diversion]:
  """Diverts the standard error, Python's logging and warnings included."""
  sys.stderr.flush()
  kept = os.dup(_STDERR)
  log = _Log()
  handler, root = logging.StreamHandler(log), logging.getLogger()
  handler.setFormatter(logging.Formatter(_FORM))
  before, level = list(root.handlers), root.level
  with tempfile.TemporaryFile() as held, open(kept, 'w', buffering=1, errors='replace') as stream:
    os.dup2(held.fileno(), _STDERR)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    diversion = Diversion(stream, held, log)
    try:
      yield diversion
    except LlmiError:
      raise
    except BaseException:
      diversion.give_back()
      raise
    finally:
      logging.captureWarnings(False)
      root.handlers[:] = before
      root.setLevel(level)
      sys.stderr.flush()
      os.dup2(kept, _STDERR)


class _Log:
  """Where Python's logging goes: the standard error, whatever that is, until `settle` parts them.

  A log that cannot be written must not stop a run.
  """

  def __init__(self):
    self.descriptor = _STDERR

  def write(self, text: str) -> int:
    with contextlib.suppress(OSError):
      os.write(self.descriptor, text.encode(errors='replace'))
    return len(text)

  def flush(self) -> None:
    """Nothing is held."""
