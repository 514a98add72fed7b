"""One tag that was opened, until it is read or found unreadable; and how to write one."""

import json
import re
from collections.abc import Mapping

from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.text import repair
from llmi_jax.text.check import Call, check
from llmi_jax.text.literal import Lexer, read
from llmi_jax.text.markers import CLOSE, OPEN, THINK
from llmi_jax.text.reasons import Fault

# How many places where a tag could end are tried, and within how many characters.
MAX_ENDS = 16
MAX_LENGTH = 100_000

_MARK = re.compile(r'<(?=/?imgen>)')


class OpenTag:
  """Collects the pieces of a tag and tries a reading wherever the tag could end.

  Attributes:
    pieces: everything since and with the opening mark.
    closed: how many pieces there are up to and with the first closing mark; 0 before there is one.
    thought: how many pieces stand before the first `<think>` in it; 0 before there is one.
    hopeless: no text that follows can make it readable.
  """

  __slots__ = (
    '_ambiguous',
    '_ends',
    '_last',
    '_lexer',
    '_position',
    '_size',
    '_specs',
    '_start',
    'closed',
    'hopeless',
    'pieces',
    'thought',
  )

  def __init__(self, specs: Mapping[str, ToolSpec], position: int):
    self.pieces = [OPEN]
    self.closed = 0
    self.thought = 0
    self.hopeless = False
    self._specs = specs
    self._position = position
    self._size = len(OPEN)
    self._last = ''  # the last character that is not a space
    self._ends = 0
    self._lexer: Lexer | None = None
    self._start: int | None = None  # where a code begins that may hold unescaped quotes
    self._ambiguous = False

  def add(self, piece: str) -> Call | Fault | None:
    """Takes a piece that is no `<imgen>`; says what the tag is, if it just ended with a reading."""
    self.pieces.append(piece)
    self._size += len(piece)
    if self._size > MAX_LENGTH:
      self.hopeless = True
    if piece == CLOSE:
      return self._close()
    if piece == THINK and not self.thought:
      self.thought = len(self.pieces) - 1
    solid = piece.rstrip()
    if solid:
      if not self._last and not solid.lstrip().startswith('{'):
        self.hopeless = True
      self._last = solid[-1]
    return None

  @property
  def fault(self) -> Fault:
    """Why it has no reading."""
    if not self.closed:
      return Fault.of('unclosed')
    if self._ambiguous:
      return Fault.of('ambiguous')
    tried_all = self._size > MAX_LENGTH or self._ends > MAX_ENDS
    return Fault.of('too_long' if tried_all else 'syntax')

  def _close(self) -> Call | Fault | None:
    self.closed = self.closed or len(self.pieces)
    could_end = self._last == '}'
    self.hopeless = self.hopeless or not self._last
    self._last = '>'
    if self.hopeless or not could_end:
      return None
    self._ends += 1
    if self._ends > MAX_ENDS:
      self.hopeless = True
      return None
    return self._try(''.join(self.pieces[1:-1]))

  def _try(self, text: str) -> Call | Fault | None:
    self._lexer = self._lexer or Lexer()
    self._lexer.advance(text)
    if self._lexer.state == 'done' and not text[self._lexer.end :].strip():
      reading = read(text)
      if reading:
        return check(reading, self._specs, self._position)
    self._start = self._start or repair.opening(text)
    if self._start is None:
      self.hopeless = self._lexer.state != 'open'
      return None
    readings = repair.readings(text, self._start)
    self._ambiguous = self._ambiguous or len(readings) > 1
    if len(readings) != 1:
      return None
    call = check(readings[0], self._specs, self._position)
    return call if isinstance(call, Call) else None


def write(tool: str, description: str, params: Mapping[str, str | int]) -> str:
  """The tag that `grammar.parse` reads back as these very values."""
  value = {'source': tool, 'description': description, 'params': dict(params)}
  body = _MARK.sub(r'\\u003c', json.dumps(value, ensure_ascii=False))
  return f'{OPEN}{body}{CLOSE}'
