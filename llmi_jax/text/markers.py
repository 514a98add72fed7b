"""Cuts a stream of characters at the marks that the grammar knows."""

import re

OPEN = '<imgen>'
CLOSE = '</imgen>'
THINK = '<think>'
UNTHINK = '</think>'

_MARK = re.compile(r'(</?(?:imgen|think)>)')
_PARTIAL = re.compile(r'</?(?:i(?:m(?:g(?:en?)?)?)?|t(?:h(?:i(?:nk?)?)?)?)?\Z')
_LONGEST = len(UNTHINK)


class Markers:
  """Yields marks, each whole and alone, and the text between them in pieces of any size."""

  def __init__(self):
    self._tail = ''

  def feed(self, chunk: str) -> list[str]:
    """The pieces that the chunk completes; what may be a mark's beginning is kept back."""
    text = self._tail + chunk
    partial = _PARTIAL.search(text, max(0, len(text) - _LONGEST + 1))
    cut = partial.start() if partial else len(text)
    self._tail = text[cut:]
    return [piece for piece in _MARK.split(text[:cut]) if piece]

  def close(self) -> list[str]:
    """What was kept back, now plain text."""
    tail, self._tail = self._tail, ''
    return [tail] if tail else []
