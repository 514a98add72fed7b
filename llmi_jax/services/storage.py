"""Files that are either whole or absent, whatever kills their writer."""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator

from llmi_jax.core.errors import DataError, StorageError
from llmi_jax.core.image import Image

_SUFFIX = '.part'
_WRITERS = 8


@contextlib.contextmanager
def storing(path: pathlib.Path) -> Iterator[None]:
  """Turns an OSError inside into a StorageError that names `path`."""
  try:
    yield
  except OSError as error:
    mend = 'free some space' if error.errno in (28, 122) else 'check the disk and its permissions'
    raise StorageError(f'{path} cannot be written ({error.strerror}); {mend}.') from error


def write(path: pathlib.Path, data: bytes):
  """Makes `path` hold `data`: temporary file, fsync, rename; the folder is left to `sync_folder`.

  The temporary file is locked while its writer lives, which is how `sweep` knows a stale one.

  Raises:
    StorageError: the disk is full, read-only or broken.
  """
  with storing(path):
    partial = path.with_name(f'{path.name}.{secrets.token_hex(8)}{_SUFFIX}')
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX)
      write_all(descriptor, data)
      os.fsync(descriptor)
      os.rename(partial, path)
    except BaseException:
      partial.unlink(missing_ok=True)
      raise
    finally:
      os.close(descriptor)


def write_all(descriptor: int, data: bytes):
  """Writes every byte."""
  view = memoryview(data)
  while view:
    view = view[os.write(descriptor, view) :]


def make_folder(folder: pathlib.Path):
  """Makes a folder and what it lies in, to stay: what is written into it must not vanish with its name."""
  if not folder.is_dir():
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: pathlib.Path):
  """Makes renames inside `folder` durable."""
  descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def sweep(folder: pathlib.Path, deep: bool = True):
  """Removes temporary files in `folder`, and below it unless told not to, whose writers are dead."""
  for partial in folder.rglob(f'*{_SUFFIX}') if deep else folder.glob(f'*{_SUFFIX}'):
    with contextlib.suppress(FileNotFoundError):  # another process sweeps, or the writer just finished
      descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
      try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.unlink()
      except BlockingIOError:
        continue  # its writer lives
      finally:
        os.close(descriptor)


class PictureFolder:
  """Pictures as `<sha256>.png`, each written once."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    with storing(folder):
      make_folder(folder)
      sweep(folder)
    self._known: set[str] = set()

  def put(self, images: Iterable[Image]):
    """Returns once every picture is on disk to stay."""
    new = {image.sha256: image for image in images if image.sha256 not in self._known}
    absent = {
      self._path(sha256): image.png for sha256, image in new.items() if not self._path(sha256).exists()
    }
    # A file system commits many fsyncs at once if they wait together.
    with concurrent.futures.ThreadPoolExecutor(_WRITERS) as writers:
      list(writers.map(write, absent.keys(), absent.values()))
    if new:
      sync_folder(self.folder)
      self._known |= set(new)

  def get(self, sha256: str) -> bytes:
    """PNG bytes.

    Raises:
      DataError: the picture is missing or not what it was.
    """
    path = self._path(sha256)
    try:
      png = path.read_bytes()
    except OSError as error:
      raise DataError(f'The picture {path} cannot be read ({error.strerror}); restore it.') from error
    if hashlib.sha256(png).hexdigest() != sha256:
      raise DataError(f'The picture {path} is damaged; restore it or remove it.')
    return png

  def _path(self, sha256: str) -> pathlib.Path:
    return self.folder / f'{sha256}.png'
