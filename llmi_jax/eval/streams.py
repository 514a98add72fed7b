"""Files written row by row, whole or not at all, without being held in memory."""

import json
import os
import pathlib
import secrets
from collections.abc import Iterable
from typing import Any

from llmi_jax.services import storage


def json_list(path: pathlib.Path, rows: Iterable[Any]) -> None:
  """One JSON list.

  Raises:
    StorageError: the file cannot be written.
  """

  def pieces():
    yield '['
    for number, row in enumerate(rows):
      yield (',\n' if number else '\n') + json.dumps(row)
    yield '\n]\n'

  text(path, pieces())


def json_lines(path: pathlib.Path, rows: Iterable[Any]) -> None:
  """One JSON value per line.

  Raises:
    StorageError: the file cannot be written.
  """
  text(path, (json.dumps(row) + '\n' for row in rows))


def text(path: pathlib.Path, pieces: Iterable[str]) -> None:
  """Any text.

  Raises:
    StorageError: the file cannot be written.
  """
  with storage.storing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.{secrets.token_hex(8)}.part')
    try:
      with open(partial, 'x', encoding='utf-8') as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
      os.rename(partial, path)
    finally:
      partial.unlink(missing_ok=True)
    storage.sync_folder(path.parent)
