"""The other processes of a run: word from each of them in bounded time.

Words travel through the coordination service that `jax.distributed` keeps, never through the devices, so that
a background thread may send them while the device thread works.
"""

import collections
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax._src import distributed  # the service has no public face; Orbax takes it from here, too

from llmi_jax.core.errors import StorageError

_SLICE = 1.0  # seconds between two looks at whether a process has given up
# By name, through the life of the process: no key is used twice, whoever opens a folder again.
_NUMBERS: collections.defaultdict[str, Iterator[int]] = collections.defaultdict(itertools.count)


class Peers:
  """The processes that save one run. All make the same exchanges in the same order."""

  def __init__(self, name: str, seconds: float = 600.0):
    """Takes the processes that `jax.distributed` knows; without it there is one.

    Args:
      name: of what is exchanged; the same in every process and no other's.
      seconds: longest wait for a process.
    """
    self.index, self.count = jax.process_index(), jax.process_count()
    self.seconds = seconds
    self._client: Any = distributed.global_state.client if self.count > 1 else None
    self._name = name

  def exchange(self, what: str, words: str = '') -> tuple[str, ...]:
    """Every process's words, in order of processes; returns once all have spoken.

    Args:
      what: is waited for, as an error tells it.
      words: of this process.

    Raises:
      StorageError: a process has given up, or does not answer in time; it is named.
    """
    if self.count == 1:
      return (words,)
    number = next(_NUMBERS[self._name])
    place = f'{self._name}/{number}'
    self._client.key_value_set(f'{place}/{self.index}', words)
    until = time.monotonic() + self.seconds
    heard = tuple(self._hear(f'{place}/{process}', process, what, until) for process in range(self.count))
    if number:  # all have spoken now, so all have heard what was said before
      self._client.key_value_delete(f'{self._name}/{number - 1}/{self.index}')
    return heard

  def give_up(self, words: str) -> None:
    """Tells the others that this process will not go on, and why."""
    if self.count > 1:
      self._client.key_value_set(f'{self._name}/gave_up/{self.index}', words, allow_overwrite=True)

  def check(self) -> None:
    """Looks whether another process has given up, without waiting.

    Raises:
      StorageError: one has.
    """
    if self.count == 1:
      return
    for key, words in self._client.key_value_dir_get(f'{self._name}/gave_up'):
      if (process := int(key.rpartition('/')[2])) != self.index:
        raise StorageError(f'Process {process} gave up: {words}')

  def watch(self, done: Callable[[float], bool]) -> None:
    """Waits until `done(seconds)` says so, which itself waits at most so long.

    Raises:
      StorageError: another process gives up meanwhile.
    """
    while not done(_SLICE):
      self.check()

  def _hear(self, key: str, process: int, what: str, until: float) -> str:
    while True:
      try:
        return self._client.blocking_key_value_get(key, int(_SLICE * 1000))
      except jax.errors.JaxRuntimeError as error:
        if 'DEADLINE_EXCEEDED' not in str(error):
          raise StorageError(f'Process {process} cannot be reached ({_first_line(error)}).') from error
      self.check()
      if time.monotonic() > until:
        raise StorageError(
          f'Process {process} has not {what} within {self.seconds:.0f} s; see what keeps it, and start again.'
        )


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
