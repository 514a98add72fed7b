"""A response, taken apart: text, thoughts, tool calls and what failed to be one."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of a response.

  Attributes:
    raw: the exact characters; the segments of a document concatenate to the response.
    start: first character's offset in the response.
    tokens: half-open range of the tokens that made it, where known.
  """

  raw: str
  start: int
  tokens: tuple[int, int] | None = dataclasses.field(default=None, kw_only=True)

  @property
  def end(self) -> int:
    return self.start + len(self.raw)


@dataclasses.dataclass(frozen=True)
class Text(Segment):
  """Prose that readers see."""


@dataclasses.dataclass(frozen=True)
class Thought(Segment):
  """`<think>…</think>`: trained on, never run, never shown to judges or readers."""


@dataclasses.dataclass(frozen=True)
class ToolCall(Segment):
  """A well-formed tag.

  Attributes:
    position: the image position it takes (input images come first).
    tool: the tag's `source`.
    description: what the picture is to show.
    params: exactly the parameters of the tool's spec.
  """

  position: int
  tool: str
  description: str
  params: Mapping[str, str | int]


@dataclasses.dataclass(frozen=True)
class Malformed(Segment):
  """A tag that is none.

  Attributes:
    position: the image position that a *closed* bad tag takes; None for an unclosed one.
    reason: one of `text.grammar.REASONS`.
    detail: one sentence for people.
  """

  position: int | None
  reason: str
  detail: str


@dataclasses.dataclass(frozen=True)
class Document:
  """One response's segments in order.

  Attributes:
    segments: their `raw` concatenates to the response, exactly.
    inputs: how many input images precede the first tag's position.
  """

  segments: tuple[Segment, ...]
  inputs: int = 0

  @property
  def response(self) -> str:
    return ''.join(s.raw for s in self.segments)

  @property
  def calls(self) -> tuple[ToolCall, ...]:
    return tuple(s for s in self.segments if isinstance(s, ToolCall))

  @property
  def malformed(self) -> tuple[Malformed, ...]:
    return tuple(s for s in self.segments if isinstance(s, Malformed))
