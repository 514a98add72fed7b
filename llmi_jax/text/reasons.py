"""Why a tag is none."""

import dataclasses
import functools

# Code → sentence; the fields are filled in by `Fault.of`.
REASONS = {
  'unclosed': 'The tag is never closed.',
  'syntax': 'The tag holds no readable dictionary.',
  'ambiguous': 'The code holds unescaped quotes and can be read in more than one way.',
  'unknown_source': 'There is no tool named {name}.',
  'missing_key': 'The key {name} is missing.',
  'extra_key': 'The key {name} is not one of the expected keys.',
  'wrong_type': 'The value of {name} is not {wanted}.',
  'duplicate_key': 'The key {name} is given more than once.',
  'empty_value': 'The value of {name} is empty.',
  'index_range': 'The value of {name} is {value}; it cannot be negative.',
  'index_order': 'The value of {name} is {value}, but only positions before {position} can be named here.',
  'fenced': 'The tag stands in a code fence, where it is code and not a request.',
  'too_long': 'The tag is longer, or holds more places where it could end, than is read.',
}

_SHOWN = 80


@dataclasses.dataclass(frozen=True)
class Fault:
  """One reason, worded.

  Attributes:
    reason: a key of `REASONS`.
    detail: its sentence.
  """

  reason: str
  detail: str

  @classmethod
  def of(cls, reason: str, **fields: object) -> 'Fault':
    """Words a reason; long or unprintable values are shown shortened and escaped."""
    if not fields:
      return _plain(reason)
    shown = {name: repr(value)[:_SHOWN] if name != 'wanted' else value for name, value in fields.items()}
    return cls(reason, REASONS[reason].format(**shown))


@functools.cache
def _plain(reason: str) -> Fault:
  return Fault(reason, REASONS[reason])
