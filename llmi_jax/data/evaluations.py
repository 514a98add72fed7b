"""Evaluations on disk: `WORKDIR/eval/step=N.json`, the figures of the policy after N steps."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from llmi_jax.core.errors import DataError
from llmi_jax.services import storage
from llmi_jax.services.files import write_atomically


def path(workdir: str | os.PathLike, step: int) -> pathlib.Path:
  """Where the figures of a step are kept."""
  return pathlib.Path(workdir) / 'eval' / f'step={step}.json'


def write(workdir: str | os.PathLike, step: int, scores: Mapping[str, Any]) -> None:
  """Keeps a step's figures; those that are not finite become null.

  Raises:
    StorageError: the work folder cannot be written.
  """
  plain = {
    name: None if isinstance(value, float) and not math.isfinite(value) else value
    for name, value in scores.items()
  }
  write_atomically(path(workdir, step), json.dumps(plain, indent=2).encode())


def read(workdir: str | os.PathLike) -> dict[int, dict[str, Any]]:
  """Step → figures, earlier steps first.

  Raises:
    DataError: a file is no JSON object.
  """
  found: dict[int, dict[str, Any]] = {}
  for file in sorted((pathlib.Path(workdir) / 'eval').glob('step=*.json'), key=_step):
    try:
      found[_step(file)] = dict(json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
      raise DataError(f'{file} is no JSON object; remove it to evaluate again.') from error
  return found


def ranking(workdir: str | os.PathLike) -> list[int]:
  """The steps by their mean rewards, highest first; of equals the earlier."""
  rewards = {step: scores.get('reward') for step, scores in read(workdir).items()}
  return [s for _, s in sorted((-reward, step) for step, reward in rewards.items() if reward is not None)]


def remove_after(workdir: str | os.PathLike, step: int) -> None:
  """Removes the figures of later steps, as a run does that goes back to a checkpoint."""
  folder = pathlib.Path(workdir) / 'eval'
  storage.sweep(folder)
  for later in [file for file in folder.glob('step=*.json') if _step(file) > step]:
    with storage.storing(later):
      later.unlink()


def _step(file: pathlib.Path) -> int:
  return int(file.stem.removeprefix('step='))
