"""ISG-Bench as a benchmark: questions, levels, categories; the results file is the reference's."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import ImagePart, Part, TextPart
from llmi_jax.eval.calls import Call, Said
from llmi_jax.eval.isg import levels, questions, records
from llmi_jax.eval.isg.questions import Asker
from llmi_jax.eval.official import Isg as Official
from llmi_jax.eval.record import Answered, Fault, Judged, Mode, Record
from llmi_jax.eval.streams import json_lines
from llmi_jax.eval.table import Column, Table
from llmi_jax.judges.verdict_form import UNREADABLE
from llmi_jax.services.files import write_atomically

RESULTS = 'isg_judge.jsonl'


@dataclasses.dataclass(frozen=True)
class Isg:
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
  name: str = 'isg'
  apart: bool = False

  def records(self) -> Iterator[Record | Fault]:
    return records.read(self.path, self.mode)

  def plan(self, record: Record, answered: Answered) -> tuple[Call, ...]:
    asker = self._asker(record, answered.answer)
    return asker.calls() if asker else ()

  def _asker(self, record: Record, answer: Answer | None) -> Asker | None:
    if answer is None:
      return None
    found = questions.output(answer, self.mode)
    return Asker(record, found, self.mode, self.official, self.temperature)

  async def score(self, record: Record, answered: Answered, said: Mapping[str, Said]) -> Judged:
    answer = answered.answer
    row = {key: record.task.payload.row[key] for key in ('id', 'Category', 'Query', 'Golden')}
    asker = self._asker(record, answer)
    if asker and answer:
      found = questions.output(answer, self.mode)
      row['output'] = [_plain(part) for part in found]
      row['result'] = self._result(record, asker, said)
    values = levels.levels(row, self.mode)
    return Judged(record.id, record.group, values, tuple(said.values()), row, answered=answer is not None)

  def _result(self, record: Record, asker: Asker, said: Mapping[str, Said]) -> dict[str, Any]:
    """The reference's own result of an item."""
    asker.calls()
    if asker.wiped and self.mode == 'repo':
      return {'error': asker.wiped}
    result: dict[str, Any] = {'structure': asker.right}
    if asker.right:
      if any(
        not isinstance(v, str)
        for s in said.values()
        if s.name.startswith('image ')
        for v in s.values.values()
      ):
        return {'error': 'a reply about a picture is no word.'}
      asked = record.task.payload.questions
      result['image'] = None if asked is None else [_question(q, said) for q in asked]
      result['block'] = [_relation(i, q, said) for i, q in enumerate(record.task.payload.relations)]
    reply = _reply(said.get(questions.HOLISTIC), 'overall', 'overall_score')
    return result | {'holistic': reply}

  def save(self, folder: pathlib.Path, record: Record, answer: Answer) -> None:
    for part in questions.output(answer, self.mode):
      if isinstance(part, ImagePart):
        write_atomically(folder / _file(part), part.image.png)

  def finish(self, folder: pathlib.Path, items: Iterable[Judged]) -> None:
    json_lines(folder / RESULTS, (dict(item.row) for item in items))

  def tables(self, items: Iterable[Judged]) -> list[Table]:
    columns = {name: Column(name) for name in levels.LEVELS}
    left_out = 0
    for item in items:
      left_out += not item.group
      for value in item.values if item.group else ():
        columns[value.name].add(item.group, value)
    figures = []
    for name, column in columns.items():
      # The published average of the image level is over the seven categories that ask about pictures.
      rows = [row for row in records.CATEGORIES if row in column.rows and (name, row) != ('image', 'VQA')]
      figures += [column.mean(row) for row in rows]
      figures.append(column.mean_of_means(rows, 'average of categories'))
    notes = [
      'The average is the unweighted mean of the categories; that of the image level leaves VQA out.',
      'Floor-filled: no answer, or a wrong structure (block 1, image 0).',
    ]
    if left_out:
      notes.append(f'{left_out} items of Semantic Segmentation are in no category of the reference’s table.')
    return [Table('ISG-Bench', tuple(figures), tuple(notes))]


def _plain(part: Part | None) -> dict[str, str]:
  if isinstance(part, TextPart):
    return {'type': 'text', 'content': part.text}
  return {'type': 'image', 'content': _file(part) if part else ''}


def _file(part: ImagePart) -> str:
  return f'images/{part.image.sha256}.png'


def _question(question: records.Question, said: Mapping[str, Said]) -> dict[str, Any]:
  row: dict[str, Any] = {
    **{'image': question.image, 'Question': question.words, 'id': question.id},
    'Preliminary': list(question.needs),
  }
  reply = said.get(f'image {question.id}')
  if reply is not None and not reply.spared:
    row[levels.IMAGE] = _reply(reply, 'judge', 'Judge')
  return row


def _relation(index: int, question: Mapping[str, Any], said: Mapping[str, Said]) -> dict[str, Any]:
  row = dict(question)
  for name, key in (('', levels.BLOCK), (' yes', 'VQA_judge_Yes_No')):
    if (reply := said.get(f'block {index}{name}')) is not None:
      row[key] = _reply(reply, 'judge', 'Judge')
  return row


def _reply(said: Said | None, name: str, key: str) -> dict[str, Any] | None:
  """A reply as the reference stores it: the object, `{error}` if it was none, null if the call failed."""
  if said is None:
    return None
  if said.missing:
    return {'error': said.missing} if said.missing.partition(':')[0] in UNREADABLE else None
  return {key: said.values[name], 'Reason': said.words}
