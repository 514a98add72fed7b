"""The strict reading of a tag's dictionary: JSON, else a Python literal.

`Lexer` walks the text once, however often it grows, and finds where the outermost bracket closes; only
that one place is handed to a parser. It admits what both notations share (brackets, commas, colons,
strings, numbers, constants) and bounds depth and count, so that neither parser meets anything deep, huge or
executable. Strings standing side by side are not joined as Python would join them: between quotes that
somebody forgot to escape, that would silently drop the quotes.
"""

import ast
import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any, Literal

MAX_DEPTH = 32
MAX_LEXEMES = 4096

# A string with either quote, single or tripled. Raw line breaks are allowed everywhere.
STRING = '|'.join(
  rf'{q}{q}{q}[^{q}\\]*+(?:(?:\\.|{q}(?!{q}{q}))[^{q}\\]*+)*+{q}{q}{q}'
  rf'|{q}(?!{q}{q})[^{q}\\]*+(?:\\.[^{q}\\]*+)*+{q}'
  for q in ('"', "'")
)
ATOM = r'(?:[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|True|False|None|NaN|-?Infinity)(?![\w.])'

_LEXEME = re.compile(
  rf'\s*+(?:(?P<open>[{{\[])|(?P<shut>[}}\]])|(?P<mark>[,:])|(?P<value>{STRING}|{ATOM}))', re.DOTALL
)
_STRING = re.compile(STRING, re.DOTALL)
_SPACE = re.compile(r'\s*+')
_PYTHON_ESCAPE = re.compile(
  r'\\(?:[\\\'"abfnrtvxuUN\n]|[0-3][0-7]{0,2}|[4-7][0-7]?(?![0-7]))|[\\\n\r\0]', re.DOTALL
)
_PYTHON_RAW = {'\\': r'\\', '\n': r'\n', '\r': r'\r', '\0': r'\x00', '\\\n': ''}
_PARTNER = {'}': '{', ']': '['}


@dataclasses.dataclass(frozen=True)
class Reading:
  """A dictionary that was read.

  Attributes:
    value: the dictionary.
    duplicate: a key that stands twice in it or in a dictionary inside it.
  """

  value: dict
  duplicate: object = None


class Lexer:
  """Follows brackets and strings through a growing text.

  Attributes:
    state: `open` (more text may complete it), `done` (the outermost bracket closed at `end`), `dead` (no
      text that follows can make it readable).
    end: offset after the outermost closing bracket, where `done`.
  """

  def __init__(self):
    self.state: Literal['open', 'done', 'dead'] = 'open'
    self.end = 0
    self._at = 0
    self._count = 0
    self._stack: list[str] = []
    self._value_may_follow = True

  def advance(self, text: str) -> None:
    """Reads on; `text` starts with what was given before."""
    while self.state == 'open':
      match = _LEXEME.match(text, self._at)
      if not match:
        rest = _SPACE.match(text, self._at).end()  # pyright: ignore[reportOptionalMemberAccess]
        if rest < len(text) and text[rest] not in '"\'':
          self.state = 'dead'
        return
      self._at = match.end()
      self._count += 1
      if self._count > MAX_LEXEMES or not self._take(match.lastgroup, match[0][-1]):
        self.state = 'dead'

  def _take(self, kind: str | None, last: str) -> bool:
    if kind == 'mark':
      self._value_may_follow = True
      return bool(self._stack)
    if kind == 'shut':
      self._value_may_follow = False
      if not self._stack or self._stack.pop() != _PARTNER[last]:
        return False
      if not self._stack:
        self.state, self.end = 'done', self._at
      return True
    if not self._value_may_follow:
      return False
    if kind == 'value':
      self._value_may_follow = False
      return bool(self._stack)
    self._stack.append(last)
    return len(self._stack) <= MAX_DEPTH and (len(self._stack) > 1 or last == '{')


def read(source: str) -> Reading | None:
  """Reads a text that a `Lexer` walked to its end; None if neither notation has it."""
  return _attempt(_read_json, source) or _attempt(_read_python, source)


def _attempt(reader: Callable[[str], Reading], source: str) -> Reading | None:
  try:
    reading = reader(source)
    json.dumps(reading.value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written anywhere
  except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
    return None
  return reading


def _read_json(source: str) -> Reading:
  duplicates = []

  def collect(pairs: list[tuple[str, Any]]) -> dict:
    duplicates.extend(_repeated([key for key, _ in pairs]))
    return dict(pairs)

  value = json.loads(source, strict=False, object_pairs_hook=collect)
  return Reading(value, duplicates[0] if duplicates else None)


def _read_python(source: str) -> Reading:
  tree = ast.parse(_STRING.sub(_plain_string, source).strip(), mode='eval')
  duplicates = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Dict):
      duplicates.extend(_repeated([key.value for key in node.keys if isinstance(key, ast.Constant)]))
  value = ast.literal_eval(tree)
  if not isinstance(value, dict):
    raise ValueError('a set')
  return Reading(value, duplicates[0] if duplicates else None)


def _plain_string(match: re.Match[str]) -> str:
  """Spells a string so that Python reads its line breaks as such and has no escape to warn about."""
  return _PYTHON_ESCAPE.sub(lambda found: _PYTHON_RAW.get(found[0], found[0]), match[0])


def _repeated(keys: list) -> list:
  return [key for place, key in enumerate(keys) if key in keys[:place]] if len(set(keys)) < len(keys) else []
