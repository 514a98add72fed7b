"""A file in one call: missing folders made, the content whole or absent."""

import os
import pathlib

from llmi_jax.services import storage


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
  """Writes `data` under `path`, whole or not at all, and survives a power cut afterwards.

  Raises:
    StorageError: no space, no permission, or another failure of the file system.
  """
  path = pathlib.Path(path)
  with storage.storing(path):
    storage.make_folder(path.parent)
    storage.write(path, data)
    storage.sync_folder(path.parent)
