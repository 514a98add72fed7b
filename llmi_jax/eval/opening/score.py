"""OpenING's absolute score: seven criteria from 0 to 10, one question per answer.

Means over items, each rounded to two places; `Overall` is the rounded mean of the seven rounded means, as
published.

`repo` keeps what `summarize_GPT_scores.py` does: numbers of any size, halves too; a row with a null or with
its grades under `scores` is dropped whole; a row that lacks a criterion counts in the others; models without
an id are one model. `fixed` reads whole numbers on the scale, all seven or none, and keeps models apart by
name. A failed call, which the reference stores as false and its summariser stumbles over, is dropped and
counted.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Message, TextPart
from llmi_jax.eval import framing, table
from llmi_jax.eval.calls import Call, Grades, Said
from llmi_jax.eval.forms import Json, member, whole_number
from llmi_jax.eval.official import OpenING as Official
from llmi_jax.eval.opening import outputs, records, views
from llmi_jax.eval.record import Answered, Fault, Judged, Mode, Record, Value
from llmi_jax.eval.streams import json_list
from llmi_jax.eval.table import Column, Figure, Table
from llmi_jax.judges import verdict_form
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.services.completion import ChatRequest

# In the order of importance that the benchmark gives them.
CRITERIA = (
  *('Correctness', 'Image-Text Coherency', 'Multi-step Consistency', 'Content Quality'),
  *('Human Preference Alignment', 'Completeness', 'Content Richness'),
)
OVERALL = 'Overall'
CALL = 'score'
RESULTS = 'gpt-score_results.json'
_FIELDS = {name.replace(' ', '_').replace('-', '_').lower(): name for name in CRITERIA}
_FORM = (
  'Reply with one JSON object and nothing else. It has these keys: '
  + ', '.join(f'"{name}"' for name in CRITERIA)
  + '. The value of each is {"Score": a whole number from 0 to 10, "Justification": one sentence}.'
)
_INTEGER = {'type': 'integer'}
_GRADE = {
  'type': 'object',
  'properties': {'Score': _INTEGER, 'Justification': {'type': 'string'}},
  'required': ['Score', 'Justification'],
  'additionalProperties': False,
}
SCHEMA = {
  'type': 'object',
  'properties': dict.fromkeys(CRITERIA, _GRADE),
  'required': list(CRITERIA),
  'additionalProperties': False,
}


@dataclasses.dataclass(frozen=True)
class Score:
  """The benchmark; see `record.Benchmark`.

  Attributes:
    path: of the records.
    mode: of the benchmark.
    model: the judged system's name.
    hint: whether requests say how many steps are wanted, and generated answers are cut to them.
    temperature: of the judge.
    official: the reference's own prompts; None for ours.
    schema: whether the judge is sent a JSON schema, which stands for the reference's function call.
  """

  path: pathlib.Path
  mode: Mode = 'fixed'
  model: str = 'model'
  hint: bool = False
  temperature: float = 0.0
  official: Official | None = None
  schema: bool = False
  name: str = 'opening'
  apart: bool = False

  def records(self) -> Iterator[Record | Fault]:
    return records.read(self.path, self.mode, self.hint)

  def plan(self, record: Record, answered: Answered) -> tuple[Call, ...]:
    if answered.answer is None:
      return ()
    answer = cut(answered.answer, self.most(record))
    if self.mode == 'fixed' and self.official is None:
      values = views.ours(record, answer=answer)
      fields = dict.fromkeys(_FIELDS, verdict_form.whole_numbers(0, 10))
      request, form, digest = framing.strict('opening_score', values, fields, self.temperature)
      return (Call(CALL, request, form, digest, about='the seven criteria'),)
    request, digest = self._laid(record, answer)
    if self.schema:
      request = dataclasses.replace(request, schema=SCHEMA)
    form = Json(_lenient if self.mode == 'repo' else _strict, strict=self.mode == 'fixed')
    return (Call(CALL, request, form, digest, about='the seven criteria'),)

  def most(self, record: Record) -> int | None:
    """Steps that a generated answer may have."""
    return record.task.gold_steps if self.hint else None

  def _laid(self, record: Record, answer: Answer) -> tuple[ChatRequest, str]:
    laid = views.Laid()
    laid.request(record, 'INPUT: ')
    laid.answer(answer, '\nOUTPUT: ')
    if self.official is None:
      places = {'material': framing.user(laid.parts)}
      return framing.loose('opening_score_json', places, _FORM, self.temperature)
    laid.text(self.official.score_closing)
    messages = (
      Message('system', (TextPart(self.official.score_system),)),
      Message('user', framing.user(laid.parts)),
    )
    request = ChatRequest(messages, self.temperature, framing.TOKENS)
    return request, framing.wording(self.official.score_system, self.official.score_closing)

  async def score(self, record: Record, answered: Answered, said: Mapping[str, Said]) -> Judged:
    reply = said.get(CALL)
    if reply is None:
      values = tuple(Value(name, None, 'absent', 'There is no answer.') for name in CRITERIA)
      return Judged(record.id, record.group, values, answered=False)
    grades = {_FIELDS.get(name, name): value for name, value in reply.values.items()}
    values = tuple(_value(name, grades, reply) for name in CRITERIA)
    stored = {
      name: {'Score': _plain(grades[name]), 'Justification': ''} for name in CRITERIA if name in grades
    }
    row = {
      'data_id': record.id,
      'model': {'id': self.model, 'name': self.model},
      'score': stored or None,
      'justification': reply.words,
    }
    return Judged(record.id, record.group, values, tuple(said.values()), row)

  def save(self, folder: pathlib.Path, record: Record, answer: Answer) -> None:
    target = folder / 'gen_outputs' / f'{self.model}_output'
    outputs.write(target, record, answer, self.mode, self.most(record))

  def finish(self, folder: pathlib.Path, items: Iterable[Judged]) -> None:
    json_list(folder / RESULTS, (dict(item.row) for item in items if item.row))

  def tables(self, items: Iterable[Judged]) -> list[Table]:
    columns = {name: Column(name, 2) for name in CRITERIA}
    whole = Column(OVERALL, 2)
    for item in items:
      for value in item.values:
        columns[value.name].add(table.ALL, value)
        columns[value.name].add(item.group, value)
      for row in (table.ALL, item.group):
        whole.add(row, _whole(item))
    rows = [table.ALL, *sorted(row for row in whole.rows if row != table.ALL)]
    figures = [f for row in rows for f in _row(row, columns, whole, self.mode)]
    notes = (
      'Overall is the mean of the seven means above it, each rounded to two places, rounded again.'
      if self.mode == 'repo'
      else 'Overall is the mean of the seven means; nothing is rounded but what is printed.',
      'Its interval is that of the items’ own means.',
    )
    return [Table('OpenING, score', tuple(figures), notes)]


def cut(answer: Answer, most: int | None) -> Answer:
  """The answer up to its `most`-th picture, as the references' generators cut; foreign ones are whole."""
  if most is None or answer.document is None:
    return answer
  kept, count = [], 0
  for part in answer.parts:
    if count == most:
      break
    kept.append(part)
    count += isinstance(part, outputs.Picture | outputs.Gap)
  return dataclasses.replace(answer, parts=tuple(kept))


def summarised(rows: Iterable[Mapping[str, Any]], mode: Mode) -> dict[str, dict[str, float]]:
  """Model → criterion → score, from rows of a results file; the models' order is that of their first rows.

  Args:
    rows: `{data_id, model: {id, name}, score: {criterion: {Score, …}}}`.
    mode: of the aggregation.
  """
  sums: dict[str, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
  for row in rows:
    model = row.get('model') or {}
    key = str(model.get('id', '') if mode == 'repo' else model.get('name', ''))
    for name, value in graded(row.get('score'), mode).items():
      sums[key][name].append(value)
  means = {key: {n: sum(v) / len(v) for n, v in found.items()} for key, found in sums.items()}
  if mode == 'repo':
    return {key: overall(found) for key, found in means.items()}
  return {key: found | {OVERALL: sum(found.values()) / len(found)} for key, found in means.items()}


def graded(score: Any, mode: Mode) -> dict[str, float]:
  """The grades of one row that count; none where the row is dropped."""
  if not isinstance(score, Mapping):
    return {}
  if mode == 'fixed':
    score = score.get('scores', score)
  elif 'scores' in score:
    nested = score['scores']
    if not isinstance(nested, Mapping) or nested.get('Score') is None:
      return {}
  if not isinstance(score, Mapping):
    return {}
  found = {n: g['Score'] for n, g in score.items() if isinstance(g, Mapping) and 'Score' in g}
  if None in found.values():
    return {}
  if mode == 'repo':
    return {n: v for n, v in found.items() if isinstance(v, int | float)}
  whole = all(type(found.get(n)) is int and 0 <= found[n] <= 10 for n in CRITERIA)
  return {n: float(found[n]) for n in CRITERIA} if whole else {}


def overall(means: Mapping[str, float]) -> dict[str, float]:
  """The published rounding: means to two places, and their mean to two places."""
  rounded = {name: round(value, 2) for name, value in means.items()}
  return rounded | {OVERALL: round(sum(rounded.values()) / len(rounded), 2)}


def _row(row: str, columns: Mapping[str, Column], whole: Column, mode: Mode) -> list[Figure]:
  cells = [column.mean(row) for column in columns.values()]
  means = [cell.value for cell in cells if cell.value is not None]
  last = whole.mean(row)
  if mode == 'repo' and means:
    last = dataclasses.replace(last, value=overall(dict(enumerate(means)))[OVERALL])  # pyright: ignore
  return [*cells, last]


def _whole(item: Judged) -> Value:
  """An item's own mean over its criteria."""
  found = [value.value for value in item.values if value.value is not None]
  if found:
    return Value(OVERALL, sum(found) / len(found))
  return Value(OVERALL, None, item.values[0].kind)


def _value(name: str, grades: Mapping[str, float | str], reply: Said) -> Value:
  grade = grades.get(name)
  if isinstance(grade, int | float):
    return Value(name, float(grade))
  return Value(name, None, 'missing', reply.missing or 'The reply does not grade it.')


def _plain(value: float | str) -> float | int | str:
  return int(value) if isinstance(value, float) and value.is_integer() else value


def _lenient(data: Any) -> Grades:
  """As the reference's summariser takes it."""
  found = graded(data, 'repo')
  if not found:
    raise Unreadable('incomplete', 'it holds no grades that the reference counts.')
  return Grades({name: found[name] for name in CRITERIA if name in found}, _words(data))


def _strict(data: Any) -> Grades:
  data = data.get('scores', data) if isinstance(data, dict) else data
  values = {n: whole_number(member(member(data, n), 'Score'), n, 0, 10) for n in CRITERIA}
  return Grades(values, _words(data))


def _words(data: Any) -> str:
  found = [
    f'{n}: {g["Justification"]}' for n, g in data.items() if isinstance(g, dict) and 'Justification' in g
  ]
  return '\n'.join(found)


def rows_of(path: pathlib.Path) -> list[dict[str, Any]]:
  """The rows of a results file of the reference."""
  return json.loads(path.read_text('utf-8'))
