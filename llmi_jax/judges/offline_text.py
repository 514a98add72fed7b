"""Checks of an answer's prose and of its tags: the two scores of the offline judge `llm`.

`text` (of its 4 points above 1): names what it is to speak of 2.00 · as many tags as the image rule says
0.60 · holds prose at all 0.40 · does not repeat itself 0.40 · holds no debris of tags 0.40 · ends as a
sentence, at a sane length 0.20. If it announces a picture ("here is an image …"), its points count a quarter.
An answer without words is 1.

`tag`, the weakest tag counts (as in the paper): the tool is one that the task requires 2.00 · its parameters
ask for the wanted picture 1.40 · its description is about the request 0.40 · prose stands before it 0.20. A
malformed tag is 1. Without a tag: 5 where the rule allows no picture, else 1.

What it does not check: whether a statement is true, or the English good.
"""

import dataclasses
import re
from collections.abc import Sequence

from llmi_jax.core import wording
from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Malformed, ToolCall
from llmi_jax.core.rubric import Mentions, criteria
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Score
from llmi_jax.judges import checks, matching
from llmi_jax.judges.checks import Check
from llmi_jax.judges.matching import Wanted

_ENOUGH_WORDS = 6
_MANY_WORDS = 1000
# What an announcement leaves of the points for prose.
_ANNOUNCING = 0.25
_DISTINCT = 0.7
# A request is longer than its subject: an answer that holds a third of its words speaks of it.
_OF_REQUEST = 3.0
_MOST_TAGS = 64

_DEBRIS = re.compile(r'</?imgen|"source"|"params"|"description"|<image|\{"|"\}|```|img_index')
_ENDING = re.compile(r'[.!?…:;)\]"\'’”»]\s*$')


@dataclasses.dataclass(frozen=True)
class _Tag:
  """A tag in its place.

  Attributes:
    call: what was written.
    before: the prose directly before it.
  """

  call: ToolCall | Malformed
  before: str


def text(task: Task, answer: Answer) -> Score:
  """Scores the prose."""
  prose = ' '.join(part.text for part in answer.parts if isinstance(part, Prose))[: wording.MOST_CHARACTERS]
  said = wording.words(prose)
  if not said:
    return checks.flat('text', 1.0, 'There are no words.')
  announced = wording.announcements(prose)
  debris = _DEBRIS.search(prose)
  ending = bool(_ENDING.search(prose)) and len(said) <= _MANY_WORDS
  tags = len(_tags(answer))
  return checks.score(
    'text',
    (
      Check('names its subject', 0.5, _subject(task, prose)),
      Check('as many tags as the image rule says', 0.15, _obeyed(task, tags), f'{tags}'),
      Check('holds prose', 0.1, len(said) / _ENOUGH_WORDS, f'{len(said)} words'),
      Check('does not repeat itself', 0.1, _distinct(said) / _DISTINCT),
      Check('holds no debris of tags', 0.1, float(not debris), debris[0] if debris else ''),
      Check('ends as a sentence, at a sane length', 0.05, float(ending)),
    ),
    scale=_ANNOUNCING if announced else 1.0,
    why=f'announces a picture: {", ".join(announced[:3])}' if announced else '',
  )


def tag(task: Task, answer: Answer) -> Score:
  """Scores the weakest tag."""
  tags = _tags(answer)
  if not tags:
    allowed = task.image_rule.kind in ('none', 'free')
    why = f'There is no tag; the image rule is {task.image_rule.kind}.'
    return checks.flat('tag', 5.0 if allowed else 1.0, why)
  broken = next((t.call for t in tags if isinstance(t.call, Malformed)), None)
  if broken is not None:
    return checks.flat('tag', 1.0, f'A tag is malformed: {broken.detail}'[:300])
  calls = [(t.call, t.before) for t in tags if isinstance(t.call, ToolCall)]
  return min(_calls(task, calls), key=lambda score: score.value)


def _calls(task: Task, calls: Sequence[tuple[ToolCall, str]]) -> list[Score]:
  wanted = wanted_pictures(task)
  fits = [[matching.of_params(w, call.tool, call.params) for w in wanted] for call, _ in calls]
  given = matching.assign(fits)
  scores = []
  for (call, before), row, column in zip(calls, fits, given):
    if wanted or task.image_rule.kind == 'none':
      parameters = row[column] if column is not None else 0.0
    else:
      parameters = 2 * _about_request(task, ' '.join(map(str, call.params.values())))
    scores.append(_call(task, call, before, parameters))
  return scores


def _call(task: Task, call: ToolCall, before: str, parameters: float) -> Score:
  fitting = call.tool in task.required_tools if task.required_tools else task.image_rule.kind != 'none'
  return checks.score(
    'tag',
    (
      Check('fitting tool', 0.5, float(fitting), call.tool[:50]),
      Check('parameters ask for what is wanted', 0.35, parameters),
      Check('description is about the request', 0.1, _about_request(task, call.description)),
      Check('prose before it', 0.05, float(bool(before.strip()))),
    ),
  )


def wanted_pictures(task: Task) -> tuple[Wanted, ...]:
  """The pictures that the rubric asks for, in order."""
  return tuple(c for c in criteria(task.rubric) if not isinstance(c, Mentions))


def _subject(task: Task, prose: str) -> float:
  """How far the prose speaks of what the rubric says; without a rubric, of the request."""
  about = [c.what for c in criteria(task.rubric) if isinstance(c, Mentions)]
  if about:
    return sum(wording.recall(what, prose) for what in about) / len(about)
  return _OF_REQUEST * wording.recall(task.question, prose)


def _obeyed(task: Task, tags: int) -> float:
  """How far the number of tags is the one that the rule asks for, in [0, 1]."""
  rule = task.image_rule
  if rule.kind == 'exactly':
    return 1 - min(1.0, abs(tags - rule.count) / rule.count)
  return float({'none': tags == 0, 'at_least_one': tags > 0}.get(rule.kind, True))


def _about_request(task: Task, words: str) -> float:
  """The share of content words that stand in the request."""
  return wording.recall(words, task.question) if wording.words(words) else 0.0


def _distinct(said: Sequence[str]) -> float:
  """Distinct runs of three words / runs of three words."""
  runs = list(zip(said, said[1:], said[2:]))
  return len(set(runs)) / len(runs) if runs else 1.0


def _tags(answer: Answer) -> list[_Tag]:
  tags: list[_Tag] = []
  before = ''
  for part in answer.parts:
    if isinstance(part, Picture | Gap) and part.call is not None and len(tags) < _MOST_TAGS:
      tags.append(_Tag(part.call, before))
    before = part.text if isinstance(part, Prose) else ''
  return tags
