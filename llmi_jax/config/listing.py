"""What people read of configs: which there are, and the keys of one."""

import ast
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from llmi_jax.config import meaning, plain

_WIDE = 110


def configs(files: Sequence[pathlib.Path]) -> str:
  """Each file with its docstring's first line, and the line about hardware where there is one."""
  lines = []
  for file in files:
    words = (ast.get_docstring(ast.parse(file.read_text())) or '').splitlines()
    hardware = next((line.strip() for line in words if line.startswith('Hardware:')), '')
    lines.append(f'  {file}')
    lines += [f'      {line}' for line in (' '.join(words[:1]), hardware) if line]
  return '\n'.join(lines)


def fields(config: ConfigDict, file: pathlib.Path) -> str:
  """Every key with its type, value and meaning."""
  rows = list(plain.flatten(config))
  told = meaning.meanings(file, [key for key, _ in rows])
  return '\n'.join(_field(key, value, told.get(key, '')) for key, value in rows)


def table(rows: Sequence[tuple[str, Any, Any]], names: tuple[str, str]) -> str:
  """Two configs' differences, a key a line."""
  cells = [('key', *names), *((key, *map(_shown, values)) for key, *values in rows)]
  wide = [max(len(row[i]) for row in cells) for i in (0, 1)]
  return '\n'.join(f'{key:<{wide[0]}}  {old:<{wide[1]}}  {new}'.rstrip() for key, old, new in cells)


def said(key: str, old: Any, new: Any) -> str:
  """One change in short, such as `steps=4 (120)`."""
  return f'{key}={_short(new)} ({_short(old)})'


def _field(key: str, value: Any, told: str) -> str:
  head = f'--config.{key}={_short(value)}  ({type(value).__name__})'
  return '\n'.join([head, *textwrap.wrap(told, _WIDE, initial_indent='    ', subsequent_indent='    ')])


def _short(value: Any) -> str:
  return value if isinstance(value, str) and value and not value.isspace() else repr(value)


def _shown(value: Any) -> str:
  return '–' if value is None else _short(tuple(value) if isinstance(value, list) else value)
