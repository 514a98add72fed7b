"""What was found of programs that were compiled before: a plan for a slice takes minutes per program."""

import hashlib
import importlib.metadata
import json
import pathlib
from typing import NamedTuple

from absl import logging

from llmi_jax.core.errors import StorageError
from llmi_jax.planning.measured import Cost, Measured, Memory
from llmi_jax.services import files

COMPILERS = ('jax', 'jaxlib', 'libtpu')


class Known(NamedTuple):
  """A folder of findings, by the program's text, the devices, the compiler and the code that looks at them.

  Attributes:
    folder: that holds them.
    devices: in words.
  """

  folder: pathlib.Path
  devices: str

  def path(self, text: str) -> pathlib.Path:
    """Of a program's finding, be it there or not."""
    parts = (text, self.devices, *map(version, COMPILERS), _looking())
    return self.folder / f'{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.json'

  def read(self, text: str) -> Measured | None:
    """A program's finding; None if there is none, or none that can be read."""
    try:
      found = json.loads(self.path(text).read_text())
      memory = found['memory'] and Memory(*found['memory'])
      return Measured(found['name'], memory, Cost(*found['cost']), found['wanted'], found['compiled_in'])
    except (OSError, ValueError, KeyError, TypeError):
      return None

  def write(self, text: str, found: Measured) -> None:
    """Keeps a finding; a folder that cannot be written to keeps none, with a warning: the plan needs none."""
    whole = {'name': found.name, 'memory': found.memory, 'cost': found.cost}
    whole |= {'wanted': found.wanted, 'compiled_in': found.compiled_in}
    try:
      files.write_atomically(self.path(text), json.dumps(whole).encode())
    except StorageError as error:
      logging.warning('%s', error)


def version(name: str) -> str:
  """Of an installed distribution."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return 'missing'


def _looking() -> str:
  """The code of this folder: what it makes of a program may change."""
  files = sorted(pathlib.Path(__file__).parent.glob('*.py'))
  return hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()
