"""What is noted of every start of a run: command, code, versions, devices."""

import importlib.metadata
import pathlib
import platform
import subprocess
import time
from collections.abc import Sequence
from typing import Any

FILE = 'starts.jsonl'
_PACKAGES = (
  'llmi_jax',
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'numpy',
  'transformers',
  'tokenizers',
)


def note(command: Sequence[str], devices: Sequence[str], process: tuple[int, int]) -> dict[str, Any]:
  """A JSON object about this start.

  Args:
    command: as it was started.
    devices: their kinds, of all processes.
    process: this one's number, and how many there are.
  """
  return {
    'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
    'command': list(command),
    'git': git(pathlib.Path(__file__).parent),
    'python': platform.python_version(),
    'versions': {name: found for name in _PACKAGES if (found := _version(name))},
    'devices': {kind: list(devices).count(kind) for kind in sorted(set(devices))},
    'process': list(process),
  }


def git(folder: pathlib.Path) -> dict[str, Any] | None:
  """The commit of the code, and whether files differ from it; None where there is no repository or no git."""
  try:
    commit = _git(folder, 'rev-parse', 'HEAD')
    return {'commit': commit, 'changed': bool(_git(folder, 'status', '--porcelain', '-uno'))}
  except (OSError, subprocess.SubprocessError):
    return None


def _git(folder: pathlib.Path, *arguments: str) -> str:
  done = subprocess.run(
    ['git', *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=10
  )
  return done.stdout.strip()


def _version(name: str) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None
