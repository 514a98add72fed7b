"""Answers that other programs wrote, one JSON object per line: `{"id", "output": [{"type", "content"}]}`.

ISG-Bench's form; the other benchmarks whose references read no answers take it, too. `content` is a text, or
a picture's path within the file's folder or `root`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from llmi_jax.core.answer import Answer, AnswerPart, Gap, Picture, Prose
from llmi_jax.eval import lines, pictures
from llmi_jax.eval.record import Answered, Fault, Mode, Record

KINDS = ('text', 'image')


class _Place(NamedTuple):
  """Where an answer stands."""

  where: str
  offset: int
  category: str


class Rows:
  """The answers of one system. The file is read once for its index and then row by row."""

  def __init__(self, path: str | pathlib.Path, mode: Mode, root: pathlib.Path | None = None):
    """Reads the index.

    Args:
      path: of the file.
      mode: `repo` takes pictures by their exact names alone.
      root: where else pictures may lie, such as the benchmark's own folder.

    Raises:
      DataError: the file cannot be read.
    """
    self.path = pathlib.Path(path)
    self.name = self.path.stem
    self.faults: list[Fault] = []
    self._mode: Mode = mode
    self._roots = [self.path.parent, *([root] if root else [])]
    self._places: dict[str, list[_Place]] = {}
    for row in lines.rows(self.path):
      if isinstance(row, Fault):
        self.faults.append(row)
      elif not isinstance(row.data.get('id'), str | int) or isinstance(row.data['id'], bool):
        self.faults.append(Fault(row.where, 'has no id.'))
      else:
        self._take(row)

  def _take(self, row: lines.Row) -> None:
    id, category = str(row.data['id']), str(row.data.get('Category', ''))
    same = [place for place in self._places.get(id, ()) if place.category == category]
    if same:
      self.faults.append(Fault(row.where, f'is a second answer to {id}; that of {same[0].where} was taken.'))
    else:
      self._places.setdefault(id, []).append(_Place(row.where, row.offset, category))

  def unknown(self, ids: set[str]) -> list[Fault]:
    """Answers to no known record."""
    return [
      Fault(place.where, f'answers {id}, which is no record.')
      for id, places in self._places.items()
      for place in places
      if id not in ids and f'{id}~{place.category}' not in ids
    ]

  def read(self, record: Record) -> Answered:
    """The answer to a record; None where there is none or it cannot be read."""
    id, _, category = record.id.partition('~')
    places = self._places.get(id, [])
    category = category or (record.task.category or ('',))[-1]
    fitting = [place for place in places if place.category == category] or places
    if not fitting:
      return Answered((None,))
    row = lines.row_at(self.path, fitting[0].offset, fitting[0].where)
    if isinstance(row, Fault):
      return Answered((None,), (row,))
    output = row.data.get('output')
    if output is None:
      return Answered((None,), (Fault(row.where, 'has no output.'),))
    if not isinstance(output, list) or not all(map(_is_part, output)):
      words = 'has an output that is no list of {type: text | image, content}.'
      return Answered((None,), (Fault(row.where, words),))
    faults: list[Fault] = []
    parts = self._parts(record, row.where, output, faults)
    return Answered((Answer(record.id, tuple(parts), origin=self.name),), tuple(faults))

  def _parts(
    self, record: Record, where: str, output: list[Mapping[str, Any]], faults: list[Fault]
  ) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    position = len(record.task.input_images)
    for part in output:
      if part['type'] == 'text':
        parts.append(Prose(part['content']))
        continue
      found = self._find(part['content'])
      faults += [Fault(where, found.fault)] if found.fault else []
      words = 'The picture that belongs here is missing.'
      parts.append(Picture(found.image, position) if found.image else Gap(words, position))
      position += 1
    return parts

  def _find(self, name: str) -> pictures.Found:
    tried = [pictures.find(root, name, near=self._mode == 'fixed') for root in self._roots]
    return next((found for found in tried if found.image), tried[0])


def _is_part(part: Any) -> bool:
  return isinstance(part, dict) and part.get('type') in KINDS and isinstance(part.get('content'), str)
