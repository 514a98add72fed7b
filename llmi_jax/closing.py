"""How runs end: with their folder, their report and the commands to go on, whatever ended them."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax

from llmi_jax import budget, claim, wiring
from llmi_jax.core.errors import LlmiError, TrainingError
from llmi_jax.report import page
from llmi_jax.terminal import ending, memory
from llmi_jax.terminal.screen import Screen

_FULL = ('RESOURCE_EXHAUSTED', 'Out of memory', 'out of memory')


@contextlib.contextmanager
def ended(screen: Screen, workdir: pathlib.Path, claimed: list[bool]) -> Iterator[None]:
  """Tells of the end of what is done inside, once the folder is this run's."""
  finished = False
  try:
    yield
    finished = True
  finally:
    if claimed and not screen.process:
      screen.say(ending.ending(workdir, report(workdir), claim.command(), finished))


def report(workdir: pathlib.Path) -> pathlib.Path | None:
  """The report of what there is so far; None where it cannot be written."""
  with contextlib.suppress(LlmiError, OSError):
    return page.build(workdir)
  return None


@contextlib.contextmanager
def explained(config: wiring.Config, workdir: pathlib.Path) -> Iterator[None]:
  """Turns a lost process and exhausted memory into a sentence.

  Raises:
    TrainingError: either happened.
  """
  try:
    yield
  except (jax.errors.JaxRuntimeError, MemoryError) as error:
    words = (str(error).splitlines() or ['no words'])[0][:200]
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _FULL):
      raise TrainingError(exhausted(config, workdir, words)) from error
    if jax.process_count() == 1:
      raise
    raise TrainingError(
      f'Another process was lost ({words}); start all of them again with the same command, which goes on '
      'from the last checkpoint.'
    ) from error


def exhausted(config: wiring.Config, workdir: pathlib.Path, said: str) -> str:
  """Parts, buffers and keys, in three lines."""
  parts = budget.parts(config, wiring.policy_source(config, workdir))
  found: dict[str, list[int]] = {}
  for array in jax.live_arrays():
    words = f'{array.dtype}[{",".join(map(str, array.shape))}]'
    found.setdefault(words, []).append(array.nbytes)
  buffers = [(words, len(sizes), sum(sizes)) for words, sizes in found.items()]
  return memory.exhausted(
    said.removeprefix('RESOURCE_EXHAUSTED: ').removeprefix('Out of memory '),
    parts,
    buffers,
    budget.keys(config, parts),
  )
