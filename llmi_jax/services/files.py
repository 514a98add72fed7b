"""Writing files so that nobody ever sees half of one."""

import os
import pathlib
import tempfile

from llmi_jax.core.errors import StorageError


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
  """Writes `data` under `path`, whole or not at all, and survives a power cut afterwards.

  A temporary file beside the target is written, synced and renamed over it; missing folders are made.

  Raises:
    StorageError: no space, no permission, or another failure of the file system.
  """
  path = pathlib.Path(path)
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f'.{path.name[:40]}.', delete=False) as file:
      temporary = file.name
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o644)  # temporary files are private, results are not
    os.replace(temporary, path)
    temporary = None
    _sync_folder(path.parent)
  except OSError as error:
    raise StorageError(f'{path} cannot be written: {error.strerror or error}.') from error
  finally:
    if temporary is not None:
      pathlib.Path(temporary).unlink(missing_ok=True)


def _sync_folder(folder: pathlib.Path) -> None:
  """Makes the rename itself durable."""
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
