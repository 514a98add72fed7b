"""The grammar of a response: what is text, thought, a tool call, or a tag that is none.

Only `<imgen>`, exactly, opens a tag. It ends at the earliest `}` + spaces + `</imgen>` that has a reading,
the strict one before the repaired one; a reading never crosses the next `<imgen>`. At most `tag.MAX_ENDS`
such ends within `tag.MAX_LENGTH` characters are tried. A tag without a reading is `Malformed`: a closed one
up to its first `</imgen>`; an unclosed one up to the next `<imgen>`, the next `<think>` or the end, so that
the next good tag lives and nothing inside a thought runs.

Every closed tag takes an image position, well formed or not; input images take the first ones. A tag in a
Markdown code fence is `Malformed`; inline code and HTML comments are plain text around a tag. `<think>` opens
a `Thought` that lasts to `</think>` or the end; a `</think>` alone is text.
"""

from collections.abc import Iterable, Sequence

from llmi_jax.core.document import Document, Malformed, Segment, Text, Thought, ToolCall
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.text.check import Call
from llmi_jax.text.fences import Fences
from llmi_jax.text.markers import OPEN, THINK, UNTHINK, Markers
from llmi_jax.text.reasons import REASONS, Fault
from llmi_jax.text.tag import OpenTag

__all__ = ['REASONS', 'Parser', 'merge', 'parse']


def parse(response: str, specs: Sequence[ToolSpec], inputs: int = 0) -> Document:
  """Takes a response apart. Never raises; linear in the response's length.

  Args:
    response: any text.
    specs: the tools that a tag may name.
    inputs: how many input images precede the first tag's position.
  """
  parser = Parser(specs, inputs)
  return Document(merge([*parser.feed(response), *parser.close()]), inputs)


def merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
  """Joins neighbouring `Text`s: what a `Parser` yields, in whatever chunks, becomes what `parse` yields."""
  merged: list[Segment] = []
  texts: list[Segment] = []
  for segment in segments:
    if isinstance(segment, Text):
      texts.append(segment)
      continue
    if texts:
      merged.append(_join(texts))
      texts = []
    merged.append(segment)
  return tuple([*merged, _join(texts)] if texts else merged)


def _join(texts: list[Segment]) -> Text:
  return Text(''.join(text.raw for text in texts), texts[0].start)


class Parser:
  """Takes a response apart while it is being written.

  Whatever the chunks, `merge` of all that `feed` and `close` return is the same. A tag comes out as soon as
  its end is certain, and never changes afterwards. (One case waits for the end of a line: a tag behind three
  backticks, which are a fence or inline code depending on what follows.) Text comes out in pieces of any
  size.
  """

  def __init__(self, specs: Sequence[ToolSpec], inputs: int = 0):
    self._specs = {spec.name: spec for spec in specs}
    self._markers = Markers()
    self._fences = Fences()
    self._offset = 0
    self._position = inputs
    self._text: list[str] = []
    self._thought: list[str] = []
    self._tag: OpenTag | None = None
    self._held: list[Segment] = []  # a tag whose fence is undecided, and all after it
    self._ready: list[Segment] = []

  def feed(self, chunk: str) -> list[Segment]:
    """The segments that became certain with this chunk."""
    for piece in self._markers.feed(chunk):
      self._take(piece)
    return self._flush()

  def close(self) -> list[Segment]:
    """The segments that were open at the end of the response."""
    for piece in self._markers.close():
      self._take(piece)
    while self._tag:
      self._give_up(self._tag)
    if self._thought:
      self._end_thought()
    self._emit_text()
    self._fences.close()
    self._release()
    return self._flush()

  def _flush(self) -> list[Segment]:
    self._emit_text()
    ready, self._ready = self._ready, []
    return ready

  def _take(self, piece: str) -> None:
    if self._tag:
      self._continue_tag(self._tag, piece)
    elif self._thought:
      self._thought.append(piece)
      if piece == UNTHINK:
        self._end_thought()
    elif piece == OPEN:
      self._emit_text()
      self._tag = OpenTag(self._specs, self._position)
    elif piece == THINK:
      self._emit_text()
      self._thought.append(piece)
    else:
      self._text.append(piece)

  def _continue_tag(self, tag: OpenTag, piece: str) -> None:
    if piece == OPEN:
      self._give_up(tag)
      self._take(piece)
      return
    found = tag.add(piece)
    if found:
      self._tag = None
      self._emit_closed(''.join(tag.pieces), found)
    elif tag.hopeless and tag.closed:
      self._give_up(tag)

  def _give_up(self, tag: OpenTag) -> None:
    """Ends a tag without a reading and takes what followed it once more, as what it is."""
    self._tag = None
    size = tag.closed or tag.thought or len(tag.pieces)
    raw = ''.join(tag.pieces[:size])
    fault = tag.fault
    if tag.closed:
      self._emit_closed(raw, fault)
    else:
      self._fences.add(raw)
      self._release()
      self._emit(Malformed(raw, self._offset, None, fault.reason, fault.detail))
    for piece in tag.pieces[size:]:
      self._take(piece)

  def _emit_closed(self, raw: str, found: Call | Fault) -> None:
    position, self._position = self._position, self._position + 1
    self._fences.add_tag()
    if isinstance(found, Fault) or self._fences.inside:
      fault = found if isinstance(found, Fault) else Fault.of('fenced')
      self._emit(Malformed(raw, self._offset, position, fault.reason, fault.detail))
    else:
      self._emit(ToolCall(raw, self._offset, position, found.tool, found.description, found.params))

  def _end_thought(self) -> None:
    raw, self._thought = ''.join(self._thought), []
    self._emit(Thought(raw, self._offset))

  def _emit_text(self) -> None:
    if self._text:
      raw, self._text = ''.join(self._text), []
      self._fences.add(raw)
      self._release()
      self._emit(Text(raw, self._offset))

  def _emit(self, segment: Segment) -> None:
    self._offset += len(segment.raw)
    (self._ready if self._fences.inside is not None else self._held).append(segment)

  def _release(self) -> None:
    """Lets go what waited for the verdict about its fence."""
    if self._fences.inside is None:
      return
    for segment in self._held:
      if self._fences.inside and isinstance(segment, ToolCall):
        fault = Fault.of('fenced')
        segment = Malformed(segment.raw, segment.start, segment.position, fault.reason, fault.detail)
      self._ready.append(segment)
    self._held = []
