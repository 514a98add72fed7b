"""The form in which a judge gives its verdict, and its strict reading.

Two forms. `lines`:

    … reasons, in any words …
    VERDICT 3f9ac01d7b22
    text: 4
    tag: 3

`json`, for servers that follow a schema:

    {"reason": "…", "verdict": "3f9ac01d7b22", "text": 4, "tag": 3}

The code is drawn for one answer and unknown to its writer, so that a verdict which the answer quotes is none.
A grade is one of the allowed words, exactly: `4.5`, `4/5` and `four` are not read, and never rounded.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Form = Literal['lines', 'json']
Fields = Mapping[str, Sequence[str]]

# Why a reply is no verdict; each is counted under its own name.
#   truncated      the reply was cut off           no_verdict     there is none in it
#   foreign_code   it carries another code         incomplete     a grade is not there
#   out_of_range   a number off the scale          not_whole      a grade that is no allowed word
#   ambiguous      two verdicts that differ
UNREADABLE = (
  'truncated', 'no_verdict', 'foreign_code', 'incomplete', 'out_of_range', 'not_whole', 'ambiguous'
)  # fmt: skip

_MARKS = re.compile(r'[*`]|^[\s>#-]+')
_FENCED = re.compile(r'\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z', re.DOTALL)
_INTEGER = re.compile(r'[0-9]+')
_PLAIN = re.compile(r'-?[1-9][0-9]*|0')


class Unreadable(Exception):
  """A reply that is no verdict.

  Attributes:
    cause: one of `UNREADABLE`.
  """

  def __init__(self, cause: str, words: str):
    super().__init__(words)
    self.cause = cause


@dataclasses.dataclass(frozen=True)
class Reading:
  """A verdict as read.

  Attributes:
    values: the allowed word of each field.
    reason: the judge's own words.
  """

  values: Mapping[str, str]
  reason: str


def whole_numbers(low: int, high: int) -> tuple[str, ...]:
  """The allowed words of a scale."""
  return tuple(map(str, range(low, high + 1)))


def ask(form: Form, code: str, fields: Fields) -> str:
  """The paragraph that tells a judge the form."""
  kinds = {name: f'{words[0]} to {words[-1]}' if _INTEGER.fullmatch(words[0]) else ', '.join(words)
           for name, words in fields.items()}  # fmt: skip
  if form == 'json':
    shown = ', '.join(f'"{name}": …' for name in fields)
    listed = '; '.join(f'"{name}" is one of {kind}' for name, kind in kinds.items())
    return (
      f'Reply with one JSON object and nothing else: {{"reason": "…", "verdict": "{code}", {shown}}}. '
      f'"reason" holds at most five sentences; {listed}.'
    )
  shown = '\n'.join(f'{name}: one of {kind}' for name, kind in kinds.items())
  return (
    'Give your reasons first, in at most five sentences. Then end your reply with exactly these lines, the '
    'words after each colon replaced by your choice and nothing else on the line:\n\n'
    f'VERDICT {code}\n{shown}'
  )


def repair(form: Form, code: str, fields: Fields, why: Unreadable) -> str:
  """The one request to say it again."""
  return f'Your reply cannot be read: {why} Reply again.\n\n{ask(form, code, fields)}'


def schema(code: str, fields: Fields) -> dict[str, Any]:
  """The JSON schema of the `json` form."""
  kinds: dict[str, Any] = {'reason': {'type': 'string'}, 'verdict': {'type': 'string', 'enum': [code]}}
  for name, words in fields.items():
    numbers = all(_INTEGER.fullmatch(word) for word in words)
    kinds[name] = {
      'type': 'integer' if numbers else 'string',
      'enum': [int(w) if numbers else w for w in words],
    }
  return {'type': 'object', 'properties': kinds, 'required': list(kinds), 'additionalProperties': False}


def read(text: str, form: Form, code: str, fields: Fields, *, whole: bool = True) -> Reading:
  """Reads a reply.

  Args:
    text: the reply.
    form: in which it was asked for.
    code: that it must carry.
    fields: names and allowed words.
    whole: False where the server says that it cut the reply off.

  Raises:
    Unreadable: it is no verdict; `cause` says why.
  """
  if not whole:
    raise Unreadable('truncated', 'it was cut off before its end.')
  return _read_json(text, code, fields) if form == 'json' else _read_lines(text, code, fields)


def _read_lines(text: str, code: str, fields: Fields) -> Reading:
  lines = [_MARKS.sub('', line).strip() for line in text.splitlines()]
  starts = [n for n, line in enumerate(lines) if line == f'VERDICT {code}']
  if not starts:
    if any(re.fullmatch(r'VERDICT \S+', line) for line in lines):
      raise Unreadable('foreign_code', f'its verdict does not carry the code {code}.')
    raise Unreadable('no_verdict', f'it has no line "VERDICT {code}".')
  blocks = [_block(lines[n + 1 :], fields) for n in starts]
  if any(block != blocks[0] for block in blocks):
    raise Unreadable('ambiguous', 'it holds two verdicts that differ.')
  return Reading(blocks[0], '\n'.join(text.splitlines()[: starts[0]]).strip())


def _block(lines: Sequence[str], fields: Fields) -> dict[str, str]:
  """The grades below a verdict's first line; a name that comes twice must come with one word."""
  found: dict[str, str] = {}
  for line in lines:
    if line.startswith('VERDICT '):
      break
    name, colon, value = (piece.strip() for piece in line.partition(':'))
    if not colon or name not in fields:
      continue
    word = _allowed(name, value, fields[name])
    if found.setdefault(name, word) != word:
      raise Unreadable('ambiguous', f'it gives two grades for {name}.')
  return _complete(found, fields)


def _read_json(text: str, code: str, fields: Fields) -> Reading:
  fenced = _FENCED.match(text)
  try:
    found = json.loads(fenced[1] if fenced else text, object_pairs_hook=_once)
  except (ValueError, RecursionError) as error:
    raise Unreadable('no_verdict', 'it is not one JSON object.') from error
  if not isinstance(found, dict):
    raise Unreadable('no_verdict', 'it is not one JSON object.')
  if found.get('verdict') != code:
    raise Unreadable('foreign_code', f'its "verdict" is not {code}.')
  values = {}
  for name in fields.keys() & found.keys():
    value = found[name]
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    number = _INTEGER.fullmatch(fields[name][0])
    if not plain or isinstance(value, str) == bool(number):
      raise Unreadable('not_whole', f'{name} is {json.dumps(value)[:40]}.')
    values[name] = _allowed(name, str(value), fields[name])
  return Reading(_complete(values, fields), str(found.get('reason', '')))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  found = dict(pairs)
  if len(found) != len(pairs):
    raise Unreadable('ambiguous', 'it gives one name twice.')
  return found


def _allowed(name: str, value: str, words: Sequence[str]) -> str:
  if value in words:
    return value
  off = _PLAIN.fullmatch(value) and _INTEGER.fullmatch(words[0])
  cause = 'out_of_range' if off else 'not_whole'
  raise Unreadable(cause, f'{name} is {value[:40]!r}, which is none of {", ".join(words)}.')


def _complete(found: dict[str, str], fields: Fields) -> dict[str, str]:
  if absent := [name for name in fields if name not in found]:
    raise Unreadable('incomplete', f'it gives no grade for {absent[0]}.')
  return found
