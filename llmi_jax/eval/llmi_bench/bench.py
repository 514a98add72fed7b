"""LLMI-Bench as a benchmark: a question per criterion, 0, 1 or 2; a reply that is missing is no 0.

The reference prints no total. Two are inferred here and say so: the mean of Σ/2n over samples, and Σ/2n over
all criteria together, both on a scale of ten as the paper's figures look.

`repo`: 1.9 becomes 1 and true becomes 1, since the reference truncates; names of criteria close up; pictures
stand where `<image>` marks of the whole question stand, so that a request with unmarked pictures shifts those
of the answer.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, Message, Part, TextPart
from llmi_jax.eval import framing, table, tools
from llmi_jax.eval.calls import Call, Grades, Said
from llmi_jax.eval.forms import Json, member, whole_number
from llmi_jax.eval.llmi_bench import records
from llmi_jax.eval.llmi_bench.records import MARK, Payload
from llmi_jax.eval.numbers import ratio
from llmi_jax.eval.official import LlmiBench as Official
from llmi_jax.eval.record import Answered, Fault, Judged, Mode, Record, Value
from llmi_jax.eval.streams import json_list
from llmi_jax.eval.table import Figure, Table
from llmi_jax.judges import verdict_form
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.rewards import rules
from llmi_jax.services.completion import ChatRequest

RESULTS = 'json_results/evaluation_results.json'
ACCURACY = 'right tools'
_LOST = '<fail_to_generate_image>'
_FORM = (
  'Reply with one JSON object {"score": 0, 1 or 2, "justification": one sentence}; 0: it is not met, '
  '1: it is met in part, 2: it is met.'
)


@dataclasses.dataclass(frozen=True)
class LlmiBench:
  """The benchmark; see `record.Benchmark`.

  Attributes:
    path: of the records.
    mode: of the benchmark.
    temperature: of the judge.
    official: the reference's own prompts; None for ours.
  """

  path: pathlib.Path
  mode: Mode = 'fixed'
  temperature: float = 0.0
  official: Official | None = None
  name: str = 'llmi_bench'
  apart: bool = True

  def records(self) -> Iterator[Record | Fault]:
    return records.read(self.path, self.mode)

  def plan(self, record: Record, answered: Answered) -> tuple[Call, ...]:
    answer = answered.answer
    if answer is None:
      return ()
    payload: Payload = record.task.payload
    return tuple(self._call(record, answer, name, words) for name, words in payload.criteria.items())

  def _call(self, record: Record, answer: Answer, name: str, words: str) -> Call:
    if self.mode == 'fixed' and self.official is None:
      values = {
        'request': framing.asked(record.task.messages),
        'answer': framing.seen(answer),
        'criterion': words,
      }
      scale = {'score': verdict_form.whole_numbers(0, 2)}
      request, form, digest = framing.strict('llmi_criterion', values, scale, self.temperature)
      return Call(name, request, form, digest, about=words)
    strict = self.mode == 'fixed'
    form = Json(_strict if strict else _lenient, strict, repaired=strict)
    question, text = record.task.payload.prompt, marked(answer)
    shown = [*record.task.input_images, *(p.image for p in answer.pictures)]
    if self.official is None:
      places: dict[str, str | tuple[Part, ...]] = {
        'request': question,
        'answer': text,
        'criterion': words,
      }
      request, digest = framing.loose('llmi_criterion_json', places, _FORM, self.temperature)
      system, user = request.messages
      request = dataclasses.replace(request, messages=(system, _placed(user, shown)))
      return Call(name, request, form, digest, about=words)
    filled = self.official.user.format(question=question, answer_text=text, criterion=words)
    user = _placed(Message('user', (TextPart(filled),)), shown)
    system = Message('system', (TextPart(self.official.system),))
    request = ChatRequest((system, user), self.temperature, framing.TOKENS)
    digest = framing.wording(self.official.system, self.official.user)
    return Call(name, request, form, digest, about=words)

  async def score(self, record: Record, answered: Answered, said: Mapping[str, Said]) -> Judged:
    payload: Payload = record.task.payload
    answer = answered.answer
    if answer is None:
      values = tuple(Value(name, None, 'absent', 'There is no answer.') for name in payload.criteria)
      return Judged(record.id, record.group, (*values, Value('share', None, 'absent')), answered=False)
    values = [_value(name, said) for name in payload.criteria]
    grades = [value.value for value in values if value.value is not None]
    share = sum(grades) / (2 * len(grades)) if grades else None
    values.append(Value('share', share, 'scored' if grades else 'missing', 'Σ / 2n of what was graded'))
    known = answer.document is not None
    if known and record.task.required_tools:
      values.append(Value(ACCURACY, rules.tool_accuracy(record.task, answer)))
    names = list(payload.criteria)
    row = {
      **{'sample_index': payload.number, 'prompt': payload.prompt, 'answer': _written(answer)},
      'scores': {n: -1 if (v := said[n].number('score')) is None else int(v) for n in names},
      'justifications': {n: said[n].words or said[n].missing for n in names},
      'tools': tools.calls(answer) if known else None,
    }
    return Judged(record.id, record.group, tuple(values), tuple(said.values()), row)

  def save(self, folder: pathlib.Path, record: Record, answer: Answer) -> None:
    """Its pictures are kept with the answer; the reference writes none."""

  def finish(self, folder: pathlib.Path, items: Iterable[Judged]) -> None:
    rows = ({k: v for k, v in item.row.items() if k != 'tools'} for item in items if item.row)
    json_list(folder / RESULTS, rows)

  def tables(self, items: Iterable[Judged]) -> list[Table]:
    found = [item for item in items]  # a few dozen
    groups = [table.ALL, *sorted({item.group for item in found})]
    figures = []
    for group in groups:
      inside = [item for item in found if group in (table.ALL, item.group)]
      figures += _totals(group, inside)
    accuracy = [v.value for item in found for v in item.values if v.name == ACCURACY and v.value is not None]
    right = ratio([accuracy])
    called = tools.figures([item.row.get('tools') for item in found if item.row], self.mode)
    called.append(Figure('all tools', ACCURACY, right.value, right.n, low=right.low, high=right.high))
    notes = (
      'The reference prints no total over samples; both totals are inferred, on a scale of ten.',
      'A criterion without a reply that can be read is left out of the sums, not counted as 0.',
    )
    about = (
      'Invocation success is the paper’s "Tool Acc"; right tools: exactly the required ones succeeded.',
    )
    return [
      Table('LLMI-Bench', tuple(figures), notes),
      Table('LLMI-Bench, tools', tuple(called), about),
    ]


def marked(answer: Answer) -> str:
  """The answer as the reference hands it on: marks for pictures, a mark for each call that failed."""
  words = {Picture: MARK, Gap: _LOST}
  return ''.join(part.text if isinstance(part, Prose) else words[type(part)] for part in answer.parts)


def _written(answer: Answer) -> str:
  return answer.document.response if answer.document else marked(answer)


def _placed(message: Message, shown: Sequence[Image]) -> Message:
  """The k-th picture at the k-th mark of the whole message, those left over at no place at all."""
  text = ''.join(part.text for part in message.content if isinstance(part, TextPart))
  parts: list[Part] = []
  left = iter(shown)
  for piece in text.split(MARK):
    image = next(left, None)
    parts += [TextPart(piece)] if piece else []
    parts += [ImagePart(image)] if image else []
  return Message('user', framing.user(parts))


def _totals(group: str, items: Sequence[Judged]) -> list[Figure]:
  shares = [item['share'].value for item in items if item['share'].value is not None]
  rows = [
    [value for value in item.values if value.name.startswith('r') and value.name[1:].isdigit()]
    for item in items
  ]
  sums = [[sum(v.value for v in row if v.value is not None)] for row in rows]
  counts = [[2 * sum(v.value is not None for v in row)] for row in rows]
  missing = sum(v.kind == 'missing' for row in rows for v in row)
  per_sample = ratio([shares])
  pooled = ratio([[n for s in sums for n in s]], [[n for c in counts for n in c]])
  return [
    _ten(group, 'mean of samples', per_sample, len(shares), sum(i['share'].kind == 'missing' for i in items)),
    _ten(group, 'all criteria together', pooled, sum(c[0] for c in counts) // 2, missing),
  ]


def _ten(group: str, name: str, found: Any, n: int, missing: int) -> Figure:
  low, high = (None if x is None else 10 * x for x in (found.low, found.high))
  return Figure(group, name, None if found.value is None else 10 * found.value, n, missing, 0, low, high, 2)


def _value(name: str, said: Mapping[str, Said]) -> Value:
  grade = said[name].number('score')
  return Value(name, grade, 'missing', said[name].missing) if grade is None else Value(name, grade)


def _lenient(data: Any) -> Grades:
  """As `int(result.get('score'))` takes it."""
  try:
    score = int(data.get('score'))
  except (AttributeError, TypeError, ValueError, OverflowError) as error:
    raise Unreadable('not_whole', 'score is no number.') from error
  if score not in (0, 1, 2):
    raise Unreadable('out_of_range', f'score is {score}.')
  return Grades({'score': float(score)}, str(data.get('justification', '')))


def _strict(data: Any) -> Grades:
  score = whole_number(member(data, 'score'), 'score', 0, 2)
  return Grades({'score': score}, str(data.get('justification', '')))
