"""Pictures that files name: found inside one folder, read defensively, never from elsewhere."""

import pathlib
from typing import NamedTuple

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.services import images

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp', '.gif')


class Found(NamedTuple):
  """A picture, or why there is none.

  Attributes:
    image: None where it cannot be had.
    fault: what is wrong, in words; empty where nothing is. A picture found under another name has both.
    missing: whether the file is not there, rather than unreadable.
  """

  image: Image | None
  fault: str = ''
  missing: bool = False


def find(root: pathlib.Path, name: str, *, near: bool = True) -> Found:
  """Reads a picture.

  Args:
    root: the folder that it must lie in.
    name: its path in there.
    near: whether a file that differs only in case or in the kind of picture will do; it is a fault all the
      same.
  """
  if not isinstance(name, str) or not name or '\x00' in name:
    return Found(None, f'{str(name)[:80]!r} names no picture.', True)
  path = root / name
  if not _inside(root, path):
    return Found(None, f'the picture {name[:120]!r} lies outside {root}; it is not read.')
  words = ''
  if not path.is_file():
    other = _other(path) if near else None
    if other is None or not _inside(root, other):
      return Found(None, f'the picture {name[:120]!r} is not in {root}.', True)
    words = f'the picture {name[:120]!r} has a wrong ending or case; {other.name!r} is there and was taken.'
    path = other
  try:
    return Found(images.decode(path.read_bytes()), words)
  except (DataError, OSError) as error:
    return Found(None, f'the picture {name[:120]!r} cannot be read ({str(error)[:160]})')


def _inside(root: pathlib.Path, path: pathlib.Path) -> bool:
  try:
    return path.resolve().is_relative_to(root.resolve())
  except (OSError, RuntimeError):
    return False


def _other(path: pathlib.Path) -> pathlib.Path | None:
  """A picture beside it with the same stem, case aside."""
  try:
    beside = sorted(path.parent.iterdir())
  except OSError:
    return None
  stem = path.stem.lower()
  return next((p for p in beside if p.stem.lower() == stem and p.suffix.lower() in ENDINGS), None)
