r"""The repaired reading: a `code` parameter whose quotes nobody escaped.

Everything but the code must be strictly readable, and the code ends at a quote from which the rest of the
tag reads. In the code `\n` is a line break and `\\n` a backslash and an n, as in the strict notations; other
characters, of whatever script, stay as they are.
"""

import re

from llmi_jax.text.literal import ATOM, STRING, Reading, read

PARAMETER = 'code'
# The characters before a tag's end in which the code may end, and the closing quotes tried there.
WINDOW = 4_000
MAX_CLOSERS = 16

_VALUE = f'(?:{STRING}|{ATOM})'
_PAIR = rf'(?:{STRING})\s*+:\s*+{_VALUE}\s*+'
_OPENING = re.compile(
  rf'\s*+\{{\s*+(?:(?:{STRING})\s*+:\s*+(?:{STRING})\s*+,\s*+)*+'
  rf'(["\'])params\1\s*+:\s*+\{{\s*+(?:(?!["\']{PARAMETER}["\']){_PAIR},\s*+)*+'
  rf'(["\']){PARAMETER}\2\s*+:\s*+(["\'])(?!\3\3)',
  re.DOTALL,
)
_CLOSERS = {
  quote: re.compile(
    rf'{quote}(?=\s*+(?:,\s*+{_PAIR})*+,?\s*+\}}\s*+(?:,\s*+{_PAIR})*+,?\s*+\}}\s*\Z)', re.DOTALL
  )
  for quote in ('"', "'")
}
_ESCAPE = re.compile(r'\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)', re.DOTALL)
_NAMED = {'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v', '\n': ''}
_SELF = frozenset('\\\'"')


def opening(text: str) -> int | None:
  """The offset of the code's first character, or None where no code is opened.

  It stays what it is when the text grows.
  """
  match = _OPENING.match(text)
  return match.end() if match else None


def readings(text: str, start: int) -> list[Reading]:
  """Every reading of a text that ends with its last bracket; more than one means that none is sure.

  Args:
    text: from the tag's first bracket, with spaces around, to its last.
    start: what `opening` said.
  """
  found = []
  for match in _CLOSERS[text[start - 1]].finditer(text, max(start, len(text) - WINDOW)):
    closer = match.start()
    if _is_escaped(text, closer, start):
      continue
    reading = read(text[:start] + text[closer:])
    if reading and reading.duplicate is None:
      reading.value['params'][PARAMETER] = unescape(text[start:closer])
    if reading:
      found.append(reading)
    if len(found) == MAX_CLOSERS:
      break
  return found


def unescape(code: str) -> str:
  """Decodes escapes and nothing else; an escape that means nothing stays as written."""
  decoded = _ESCAPE.sub(_decode, code)
  if any('\ud800' <= character <= '\udfff' for character in decoded):
    # Two escapes may stand for one character beyond U+FFFF; a lone half becomes a replacement mark.
    decoded = decoded.encode('utf-16-le', 'surrogatepass').decode('utf-16-le', 'replace')
  return decoded


def _decode(match: re.Match[str]) -> str:
  body = match[0][1:]
  if body in _SELF:
    return body
  if body in _NAMED:
    return _NAMED[body]
  if body[0] in 'xuU' and len(body) > 1:
    number = int(body[1:], 16)
    return chr(number) if number <= 0x10FFFF else match[0]
  if body[0] in '01234567':
    return chr(int(body, 8))
  return match[0]


def _is_escaped(text: str, at: int, start: int) -> bool:
  before = at
  while before > start and text[before - 1] == '\\':
    before -= 1
  return (at - before) % 2 == 1
