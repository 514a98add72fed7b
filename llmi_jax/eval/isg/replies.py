"""How ISG-Bench's judges reply, and how that is read."""

from collections.abc import Callable
from typing import Any

from llmi_jax.eval.calls import Grades
from llmi_jax.eval.forms import member, whole_number
from llmi_jax.eval.record import Mode
from llmi_jax.judges import verdict_form
from llmi_jax.judges.verdict_form import Unreadable

TEN = verdict_form.whole_numbers(1, 10)
DIMENSIONS = ('coherence', 'accuracy', 'responsiveness', 'alignment', 'creativity', 'overall')
SCORE = 'Reply with one JSON object {"Judge": a whole number from 1 to 10, "Reason": one sentence}.'
YES_OR_NO = 'Reply with one JSON object {"Judge": "Yes" or "No", "Reason": one sentence}.'
OVERALL = (
  'Reply with one JSON object. Its keys coherence, content_accuracy, relevance_and_responsiveness, '
  'visual_textual_alignment and creativity_and_originality each hold {"score": a whole number from 1 to 10, '
  '"explanation": one sentence}; its key overall_score holds your whole number from 1 to 10 for the whole.'
)
Reader = Callable[[Any], Grades]


def grade(mode: Mode) -> Reader:
  """Of a relation, 1 to 10; `repo` takes whatever stands there."""

  def read(data: Any) -> Grades:
    value = member(data, 'Judge')
    if mode == 'fixed':
      return Grades({'judge': whole_number(value, 'Judge', 1, 10)}, str(data.get('Reason', '')))
    return Grades(
      {'judge': value if isinstance(value, int | float) else str(value)}, str(data.get('Reason', ''))
    )

  return read


def yes_or_no(mode: Mode) -> Reader:
  """Of a question; `repo` takes whatever stands there."""

  def read(data: Any) -> Grades:
    value = member(data, 'Judge')
    if mode == 'fixed' and (not isinstance(value, str) or value.strip().lower() not in ('yes', 'no')):
      raise Unreadable('not_whole', 'Judge is neither Yes nor No.')
    plain = value.strip() if mode == 'fixed' else value
    return Grades(
      {'judge': plain if isinstance(plain, str | int | float) else str(plain)}, str(data.get('Reason', ''))
    )

  return read


def overall(mode: Mode) -> Reader:
  """Of the whole answer."""

  def read(data: Any) -> Grades:
    value = member(data, 'overall_score')
    if mode == 'fixed':
      value = whole_number(value, 'overall_score', 1, 10)
    return Grades(
      {'overall': value if isinstance(value, int | float) else str(value)},
      str(data.get('final_thoughts', '')),
    )

  return read
