"""Puts outcomes in their places: what people, judges and reports see of a response."""

from collections.abc import Mapping

from llmi_jax.core.answer import AnswerPart, Gap, Picture, Prose
from llmi_jax.core.document import Document, Malformed, Segment, Text, ToolCall
from llmi_jax.core.outcome import ToolOutcome

_LONGEST = 300


def compose(document: Document, outcomes: Mapping[int, ToolOutcome]) -> tuple[AnswerPart, ...]:
  """Text, pictures and worded gaps in order; thoughts are left out and prose around them joined.

  Args:
    document: the parsed response.
    outcomes: image position → outcome of every well-formed call, as `Session.finish` gives them.
  """
  parts: list[AnswerPart] = []
  for segment in document.segments:
    part = _part(segment, outcomes)
    if isinstance(part, Prose) and parts and isinstance(parts[-1], Prose):
      parts[-1] = Prose(parts[-1].text + part.text)
    elif part is not None:
      parts.append(part)
  return tuple(parts)


def _part(segment: Segment, outcomes: Mapping[int, ToolOutcome]) -> AnswerPart | None:
  if isinstance(segment, Text):
    return Prose(segment.raw) if segment.raw else None
  if isinstance(segment, Malformed):
    return Gap(
      _short(f'A picture was meant to be here, but its tag was malformed: {segment.detail}'),
      segment.position,
      segment,
    )
  if isinstance(segment, ToolCall):
    outcome = outcomes[segment.position]
    if outcome.image is not None:
      return Picture(outcome.image, segment.position, segment, outcome)
    words = f'A picture was meant to be here ({segment.tool}), but there is none: {outcome.error}'
    return Gap(_short(words), segment.position, segment, outcome)
  return None


def _short(words: str) -> str:
  line = ' '.join(words.split())
  return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'
