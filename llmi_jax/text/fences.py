"""Code fences, found line by line as CommonMark finds them.

Fences may stand in block quotes and list items, which is why those are followed too. HTML blocks are not:
a fence in one counts as a fence. A tag is one character of its line, whatever it holds.
"""

import dataclasses
import re

_FENCE = re.compile(r'(`{3,})[^`]*\Z|(~{3,})')
_LIST = re.compile(r'(?:[-+*]|(\d{1,9})[.)])(?=\s|\Z)')
_RULE = re.compile(r'(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})\Z')
_HEADING = re.compile(r'#{1,6}(?:\s|\Z)')
_UNDERLINE = re.compile(r'=+\s*\Z')
_SIGN = re.compile(r'[`\n]')
_CODE_INDENT = 4
_QUOTE = 0  # a container that is no list item


@dataclasses.dataclass(frozen=True)
class State:
  """What earlier lines left open.

  Attributes:
    containers: from outermost to innermost; 0 is a block quote, a positive number the indent of a list
      item's content.
    fence: the marks that opened the fence around the next line, or none.
    paragraph: whether the next line may continue a paragraph.
    empty: whether the innermost container is a list item without content, which a blank line ends.
  """

  containers: tuple[int, ...] = ()
  fence: str = ''
  paragraph: bool = False
  empty: bool = False


class Fences:
  """Follows a text that grows.

  Lines are looked at only when a tag asks, each once; a text without tags costs nothing.

  Attributes:
    inside: whether the latest tag stands in a fence. None while that is open: its line began as a fence of
      backticks does, and is none if another backtick follows on it.
  """

  def __init__(self):
    self.inside: bool | None = False
    self._state = State()
    self._otherwise = State()  # the state if a backtick follows
    self._parts: list[str] = []
    self._settled = False  # nothing up to the next line break matters any more

  def add(self, text: str) -> None:
    if self.inside is None:
      sign = _SIGN.search(text)
      if sign:
        self.inside = sign[0] == '\n'
        self._state = self._state if self.inside else self._otherwise
    self._parts.append(text)

  def add_tag(self) -> None:
    """Takes a tag into the line and finds out whether it stands in a fence."""
    text = ''.join(self._parts)
    self._parts = []
    if self._settled:
      _, line_break, text = text.partition('\n')
      if not line_break:
        return
    *lines, head = text.split('\n')
    for line in lines:
      self._state = step(self._state, line)
    before, self._settled = self._state, True
    self._state = step(before, head + 'x')
    self.inside = bool(self._state.fence)
    if self._state.fence.startswith('`') and not _goes_on(before, head + 'x'):
      self.inside = None
      self._otherwise = step(before, head + 'x`')

  def close(self) -> None:
    """The text is over."""
    self.inside = self.inside is None or self.inside


def step(state: State, line: str) -> State:
  """The state after a line, given without its line break."""
  line = _expand(line)
  matched, rest = _match(state.containers, line)
  if state.fence and matched == len(state.containers):
    closes = re.match(rf' {{0,3}}{state.fence[0]}{{{len(state.fence)},}}\s*\Z', rest)
    return State(state.containers) if closes else state
  if not rest.strip():
    ends_item = state.empty and matched == len(state.containers)
    return State(state.containers[: matched - ends_item])
  if state.fence:
    return _open(State(state.containers), matched, rest)
  return _open(state, matched, rest)


def _goes_on(state: State, line: str) -> bool:
  """Whether a line is content of the fence that is open before it."""
  return bool(state.fence) and _match(state.containers, _expand(line))[0] == len(state.containers)


def _expand(line: str) -> str:
  return line.removesuffix('\r').expandtabs(_CODE_INDENT)


def _indent(text: str) -> int:
  return len(text) - len(text.lstrip(' '))


def _match(containers: tuple[int, ...], line: str) -> tuple[int, str]:
  """How many containers go on in a line, and what is left of it in the innermost of them."""
  for number, container in enumerate(containers):
    indent = _indent(line)
    if container == _QUOTE:
      if indent >= _CODE_INDENT or line[indent : indent + 1] != '>':
        return number, line
      line = line[indent + 1 :].removeprefix(' ')
    elif indent >= container:
      line = line[container:]
    elif line.strip():
      return number, line
  return len(containers), line


def _open(state: State, matched: int, rest: str) -> State:
  """The state after a line that is not blank and in no fence, its matched containers taken off."""
  containers = state.containers[:matched]
  continues = state.paragraph
  while rest.strip():
    indent = _indent(rest)
    rest = rest[indent:]
    if indent >= _CODE_INDENT:
      return State(state.containers, paragraph=True) if continues else State(containers)
    fence = _FENCE.match(rest)
    if fence:
      return State(containers, fence=fence[1] or fence[2])
    if rest[0] == '>':
      containers, rest, continues = (*containers, _QUOTE), rest[1:].removeprefix(' '), False
      continue
    interrupts = continues and matched == len(state.containers)
    if _HEADING.match(rest) or _RULE.match(rest) or (interrupts and _UNDERLINE.match(rest)):
      return State(containers)
    width = _item_width(rest, interrupts)
    if not width:
      return State(state.containers if continues else containers, paragraph=True)
    containers, rest, continues = (*containers, indent + width), rest[width:], False
  return State(containers, empty=containers[-1] != _QUOTE)


def _item_width(rest: str, interrupts: bool) -> int:
  """The columns from a list marker to its item's content; 0 where no item begins."""
  marker = _LIST.match(rest)
  if not marker:
    return 0
  content = rest[marker.end() :]
  if interrupts and (not content.strip() or marker[1] not in (None, '1')):
    return 0
  space = _indent(content)
  return marker.end() + (space if content.strip() and space <= _CODE_INDENT else 1)
