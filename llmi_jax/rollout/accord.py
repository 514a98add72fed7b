"""What the processes of a run agree on.

Every agreement is a collective of equal shape, so that a process that must leave can take part in whichever
one comes next, and tell the others there. Nobody leaves between two collectives: who fails or is asked to
stop says so in the next agreement, and all leave from it together. All of it runs on the device thread, in
the same order everywhere.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from llmi_jax.core.errors import TrainingError
from llmi_jax.services import records

T = TypeVar('T')
_LENGTH = 512  # numbers of one agreement, a state and a count included
_GOES_ON, _STOPS, _FAILS = 0, 1, 2
_WORDS = 400  # characters of a failure that the others are told


class Stopped(Exception):
  """A process was asked to stop, and all know it."""


class Accord:
  """The processes of one run; alone, it agrees with itself and costs nothing.

  Attributes:
    process: this one's index.
    processes: how many there are.
    ended: whether all have agreed to leave.
  """

  def __init__(self, process: int | None = None, processes: int | None = None):
    """Takes the processes that JAX knows; other numbers serve to compute one process's part."""
    self.process = jax.process_index() if process is None else process
    self.processes = jax.process_count() if processes is None else processes
    self.ended = False
    self._state, self._words = _GOES_ON, ''

  @property
  def first(self) -> bool:
    """Whether this process writes what only one may write."""
    return self.process == 0

  def share(self, items: Sequence[T]) -> slice:
    """This process's part of what is shared out in order."""
    bounds = [len(items) * i // self.processes for i in (self.process, self.process + 1)]
    return slice(*bounds)

  def stop(self) -> None:
    """All stop at the next agreement; may be called from a signal handler's thread."""
    if not self.ended:
      self._state = max(self._state, _STOPS)

  @contextlib.contextmanager
  def noting(self) -> Iterator[None]:
    """Within, an error that nobody else has becomes all processes' at the next agreement."""
    try:
      yield
    except Exception as error:
      self.note(error)
      raise

  def note(self, error: BaseException) -> None:
    """The same for an error at hand; the first one is told."""
    if not self.ended and self._state != _FAILS:
      self._state, self._words = _FAILS, f'{error}' or type(error).__name__

  def agree(self, numbers: np.ndarray) -> np.ndarray:
    """[processes, n] of everybody's [n] int32.

    Raises:
      Stopped: a process was asked to stop.
      TrainingError: another process has failed; names it and says why.
    """
    if self.processes == 1:
      return numbers[None]
    row = np.zeros(_LENGTH, np.int32)
    row[0], row[1] = self._state, len(numbers)
    row[2 : 2 + len(numbers)] = numbers
    try:
      table = np.asarray(multihost_utils.process_allgather(row))
    except jax.errors.JaxRuntimeError:
      self.ended = True  # somebody is lost; nobody can be told
      raise
    states = table[:, 0]
    if (states == _FAILS).any():
      self._fail(states)
    if (states == _STOPS).any():
      self.ended, self._state = True, _GOES_ON
      raise Stopped
    if (table[:, 1] != len(numbers)).any():
      raise TrainingError(
        f'Processes do not agree on what comes next ({table[:, 1].tolist()} numbers); '
        'start all of them from the same code and config.'
      )
    return table[:, 2 : 2 + len(numbers)]

  def wait(self) -> None:
    """Returns when all are here; raises as `agree` does."""
    self.agree(np.zeros(0, np.int32))

  def gather(self, value: Any) -> list[Any]:
    """Everybody's JSON value, in order of processes; raises as `agree` does."""
    if self.processes == 1:
      return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = self.agree(np.array([len(data)], np.int32))[:, 0]
    # Few lengths, so that few programs are compiled.
    padded = np.zeros(1 << max(10, int(sizes.max() - 1).bit_length()), np.uint8)
    padded[: len(data)] = data
    table = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(own[:size].tobytes()) for own, size in zip(table, sizes)]

  def records(self, own: Sequence[T], cls: type[T]) -> list[T]:
    """Everybody's records, in order of processes; raises as `agree` does."""
    if self.processes == 1:
      return list(own)
    found = self.gather([records.encode(record) for record in own])
    return [records.decode(cls, data, _no_picture) for part in found for data in part]

  def leave(self) -> None:
    """Tells the others, unless they know, that this process goes no further."""
    if self.processes == 1 or self.ended:
      return
    if self._state == _GOES_ON:
      self._state, self._words = _FAILS, 'it was cancelled'
    with contextlib.suppress(Stopped, TrainingError, jax.errors.JaxRuntimeError):
      self.agree(np.zeros(0, np.int32))

  def _fail(self, states: np.ndarray) -> None:
    self.ended = True
    words = np.zeros(4 * _WORDS, np.uint8)
    own = np.frombuffer(self._words[:_WORDS].encode(), np.uint8)
    words[: len(own)] = own
    table = np.asarray(multihost_utils.process_allgather(words))
    process = int(np.argmax(states == _FAILS))
    said = table[process].tobytes().rstrip(b'\0').decode()
    raise TrainingError(f'Process {process} failed, so all have ended: {said}')


def _no_picture(sha256: str) -> bytes:
  raise TypeError(f'The picture {sha256} is not sent.')
