"""Forms of a judge's reply: our own lines with a code, and what the references ask for."""

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

from llmi_jax.eval.calls import Grades
from llmi_jax.judges import verdict_form
from llmi_jax.judges.verdict_form import Fields, Unreadable

_FENCED = re.compile(r'\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Lines:
  """Our own form: reasons, then one line per grade under a code that the judged text cannot know.

  Attributes:
    code: that the verdict must carry.
    fields: names and allowed words.
  """

  code: str
  fields: Fields

  def read(self, text: str, whole: bool) -> Grades:
    found = verdict_form.read(text, 'lines', self.code, self.fields, whole=whole)
    return Grades({name: _number(word) for name, word in found.values.items()}, found.reason)

  def again(self, why: Unreadable) -> str:
    return verdict_form.repair('lines', self.code, self.fields, why)


@dataclasses.dataclass(frozen=True)
class Json:
  """A reference's form: one JSON object.

  Attributes:
    reader: what the object says; raises Unreadable.
    strict: whether a reply that was cut off or says a name twice is refused, and one in a fence is read.
    repaired: whether it is asked for once more.
  """

  reader: Callable[[Any], Grades]
  strict: bool
  repaired: bool = True

  def read(self, text: str, whole: bool) -> Grades:
    if self.strict and not whole:
      raise Unreadable('truncated', 'it was cut off before its end.')
    fenced = _FENCED.match(text) if self.strict else None
    try:
      data = json.loads(fenced[1] if fenced else text, object_pairs_hook=once if self.strict else None)
    except (ValueError, RecursionError) as error:
      raise Unreadable('no_verdict', 'it is not one JSON object.') from error
    return self.reader(data)

  def again(self, why: Unreadable) -> str:
    return (
      f'Your reply cannot be read: {why} Reply again, with the JSON object alone.' if self.repaired else ''
    )


@dataclasses.dataclass(frozen=True)
class Words:
  """A reply that is read as a whole.

  Attributes:
    reader: what it says; raises Unreadable.
    repair: the request to say it again; empty for none.
  """

  reader: Callable[[str], Grades]
  repair: str = ''

  def read(self, text: str, whole: bool) -> Grades:
    return self.reader(text)

  def again(self, why: Unreadable) -> str:
    return self.repair


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """An object's pairs as a dictionary; refuses a name that comes twice."""
  found = dict(pairs)
  if len(found) != len(pairs):
    raise Unreadable('ambiguous', 'it gives one name twice.')
  return found


def whole_number(value: Any, name: str, low: int, high: int) -> float:
  """A grade on a scale, exactly.

  Raises:
    Unreadable: it is no whole number, or off the scale.
  """
  if isinstance(value, bool) or not isinstance(value, int):
    raise Unreadable(
      'not_whole', f'{name} is {json.dumps(value, default=str)[:40]}, which is no whole number.'
    )
  if not low <= value <= high:
    raise Unreadable('out_of_range', f'{name} is {value}; it goes from {low} to {high}.')
  return float(value)


def member(data: Any, name: str) -> Any:
  """A value of an object.

  Raises:
    Unreadable: it is no object, or has no such name.
  """
  if not isinstance(data, dict):
    raise Unreadable('no_verdict', 'it is not one JSON object.')
  if name not in data:
    raise Unreadable('incomplete', f'it gives no {name}.')
  return data[name]


def _number(word: str) -> float | str:
  return float(word) if re.fullmatch(r'-?[0-9]+', word) else word
