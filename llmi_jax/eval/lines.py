"""JSON files read piece by piece, with the line of each piece, so that no file is held in memory."""

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from llmi_jax.core.errors import DataError
from llmi_jax.eval.record import Fault

MOST_BYTES = 32 << 20  # of one row


class Row(NamedTuple):
  """One JSON object of a file.

  Attributes:
    where: `file:line`.
    data: the object.
    offset: its first byte, in files with an object per line.
  """

  where: str
  data: dict[str, Any]
  offset: int = 0


def rows(path: str | os.PathLike) -> Iterator[Row | Fault]:
  """The objects of a file with one per line; blank lines are passed over.

  Raises:
    DataError: the file cannot be read.
  """
  path = pathlib.Path(path)
  offset = 0
  with _open(path) as file:
    for number, line in enumerate(iter(lambda: file.readline(MOST_BYTES + 1), b''), 1):
      where = f'{path}:{number}'
      if len(line) > MOST_BYTES:
        raise DataError(f'{where} is longer than {MOST_BYTES:,} bytes; one object per line is expected.')
      if line.strip():
        yield _object(line, where, offset)
      offset += len(line)


def row_at(path: str | os.PathLike, offset: int, where: str) -> Row | Fault:
  """The object at a byte of such a file."""
  with _open(pathlib.Path(path)) as file:
    file.seek(offset)
    return _object(file.readline(MOST_BYTES), where, offset)


def elements(path: str | os.PathLike) -> Iterator[Row | Fault]:
  """The objects of a file that holds one JSON list.

  Raises:
    DataError: the file cannot be read, or is no list.
  """
  path = pathlib.Path(path)
  with _open(path) as file:
    data = file.read()
  try:
    text = data.decode('utf-8-sig')
    decoder, position = json.JSONDecoder(), _skip(text, 0)
    if text[position : position + 1] != '[':
      raise ValueError('it does not begin with [')
    position = _skip(text, position + 1)
    while text[position : position + 1] != ']':
      where = f'{path}:{text.count(chr(10), 0, position) + 1}'
      element, position = decoder.raw_decode(text, position)
      yield Row(where, element) if isinstance(element, dict) else Fault(where, 'is no JSON object.')
      position = _skip(text, position)
      if text[position : position + 1] == ',':
        position = _skip(text, position + 1)
  except (ValueError, RecursionError) as error:
    raise DataError(f'{path} cannot be read as a JSON list ({str(error)[:120]}); mend it.') from error


def whole(path: pathlib.Path) -> Row | Fault:
  """The one object that a file holds."""
  try:
    data = path.read_bytes()
  except OSError as error:
    return Fault(str(path), f'cannot be read ({error.strerror}).')
  return _object(data, f'{path}:1', 0) if len(data) <= MOST_BYTES else Fault(str(path), 'is too large.')


def line_of(path: pathlib.Path, words: str) -> str:
  """`file:line` of the first line that holds some words; the first line where none does."""
  try:
    found = path.read_text('utf-8', 'replace').find(words)
    text = path.read_text('utf-8', 'replace')[: max(found, 0)]
  except OSError:
    text = ''
  return f'{path}:{text.count(chr(10)) + 1}'


def _open(path: pathlib.Path):
  try:
    return open(path, 'rb')
  except OSError as error:
    raise DataError(f'{path} cannot be read ({error.strerror}); check the path.') from error


def _object(line: bytes, where: str, offset: int) -> Row | Fault:
  try:
    data = json.loads(line.decode('utf-8-sig'))
  except UnicodeDecodeError:
    return Fault(where, 'is not UTF-8.')
  except json.JSONDecodeError as error:
    place = where.rpartition(':')[0] + f':{error.lineno}' if error.lineno > 1 else where
    return Fault(place, f'is no JSON ({error.msg} at character {error.pos}).')
  except (ValueError, RecursionError) as error:
    return Fault(where, f'is no JSON ({str(error)[:80]}).')
  return Row(where, data, offset) if isinstance(data, dict) else Fault(where, 'is no JSON object.')


def _skip(text: str, position: int) -> int:
  while position < len(text) and text[position] in ' \t\r\n':
    position += 1
  return position
