"""ISG-Bench's records: query, golden answer, and the questions that are asked about an answer.

Fields as in `ISG_eval/ISG-Bench.jsonl` of github.com/Dongping-Chen/ISG, de504cd; the variants that its loader
or its older README know are read, too.
"""

import collections
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llmi_jax.core.errors import DataError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.eval import lines, pictures
from llmi_jax.eval.foreign import KINDS
from llmi_jax.eval.lines import Row
from llmi_jax.eval.record import Fault, Mode, Record

# Category → subtasks, as `Category` has them.
CATEGORIES: Mapping[str, tuple[str, ...]] = {
  'Style': ('Art Style Transfer', 'Scene Attribute Transfer', 'Photo Variation', 'Portrait Variation'),
  'Progressive': ('Animation Images', 'Animation Text-Image', 'Attribute Transfer'),
  '3D': ('3D_object', 'multi-Perspective Scene Generation'),
  'Decomposition': ('Realistic Object Detection', 'Imaginary Object Detection', 'Semantic Segmentation'),
  'Image-Text': ('HowTo', 'Scientific'),
  'Temporal': ('Prediction', 'painting'),
  'VST': ('visual storytelling text-image', 'visual storytelling image', 'visual storytelling text'),
  'VQA': ('Object_VQA', 'Historical'),
}
# Has no place in the reference's table, so that its fifty items vanish there.
FORGOTTEN = 'Semantic Segmentation'


class Question(NamedTuple):
  """A question about one picture.

  Attributes:
    image: the name of the picture, such as `<gen_img1>`.
    words: the question.
    id: its number.
    needs: numbers of questions that must have been answered with yes.
  """

  image: str
  words: str
  id: int
  needs: tuple[int, ...]


class Payload(NamedTuple):
  """What only this benchmark reads of its tasks.

  Attributes:
    row: the record as it stands in the file.
    query: its texts and pictures; None for a picture that cannot be read.
    golden: likewise.
    relations: `{subject, object, relation, Question}`, as they stand.
    questions: about single pictures; None where the record has no place for them.
  """

  row: Mapping[str, Any]
  query: tuple[Part | None, ...]
  golden: tuple[Part | None, ...]
  relations: tuple[Mapping[str, Any], ...]
  questions: tuple[Question, ...] | None


def read(path: str | pathlib.Path, mode: Mode) -> Iterator[Record | Fault]:
  """The records of a file, in order.

  `repo` leaves out the last one, as the reference's default of `--end -1` does, and knows records by `id`
  alone; `fixed` tells equal ids of different categories apart, and leaves out records with a picture that
  cannot be read.

  Args:
    path: of the file, or of the folder that holds `ISG-Bench.jsonl`; pictures lie in `images/` beside it.
    mode: of the benchmark.

  Raises:
    DataError: the file cannot be read.
  """
  path = _file(path)
  held: collections.deque[Record] = collections.deque()
  for found in _all(path, mode):
    if isinstance(found, Fault) or mode == 'fixed':
      yield found
      continue
    held.append(found)
    if len(held) > 1:
      yield held.popleft()


def ids(path: str | pathlib.Path) -> set[str]:
  """The ids of a file."""
  return {str(row.data.get('id', '')) for row in lines.rows(_file(path)) if isinstance(row, Row)}


def _file(path: str | pathlib.Path) -> pathlib.Path:
  path = pathlib.Path(path)
  return path / 'ISG-Bench.jsonl' if path.is_dir() else path


def _all(path: pathlib.Path, mode: Mode) -> Iterator[Record | Fault]:
  seen: dict[str, str] = {}
  for row in lines.rows(path):
    if isinstance(row, Fault):
      yield row
      continue
    id, category = str(row.data.get('id', '')), str(row.data.get('Category', ''))
    name = f'{id}~{category}' if mode == 'fixed' and id in seen else id
    if name in seen:
      yield Fault(row.where, f'id {id} stands there twice, first in {seen[name]}.')
      continue
    found = _record(row, name, path.parent, mode)
    if isinstance(found, Record):
      seen[name] = row.where
    yield found


def _record(row: Row, name: str, folder: pathlib.Path, mode: Mode) -> Record | Fault:
  try:
    _check(row.data)
    relations, questions = _relations(row.data['predict']), _questions(row.data['predict'])
  except DataError as error:
    return Fault(row.where, str(error))
  faults: list[Fault] = []
  query, golden = (_parts(row.data[key], folder, row.where, mode, faults) for key in ('Query', 'Golden'))
  if mode == 'fixed' and None in (*query, *golden):
    return next(fault for fault in faults if 'taken' not in fault.words)
  category = row.data['Category']
  asked = tuple(part for part in query if part is not None)
  task = Task(
    id=name,
    messages=(Message('user', asked),),
    question='\n'.join(part.text for part in asked if isinstance(part, TextPart)),
    image_rule=ImageRule('free'),
    category=(group_of(category, mode) or 'none', category),
    gold=tuple(part for part in golden if part is not None),
    source='ISG-Bench',
    licence='CC BY 4.0',
    split='test',
    payload=Payload(row.data, query, golden, relations, questions),
  )
  return Record(task, row.where, group_of(category, mode), tuple(faults))


def group_of(category: str, mode: Mode) -> str:
  """The category of a subtask; empty where the mode knows none."""
  if mode == 'repo' and category == FORGOTTEN:
    return ''
  return next((name for name, members in CATEGORIES.items() if category in members), '')


def _check(data: Mapping[str, Any]) -> None:
  if not isinstance(data.get('id'), str) or not data['id']:
    raise DataError('has no text as its id.')
  if not isinstance(data.get('Category'), str):
    raise DataError('has no text as its Category.')
  if not group_of(data['Category'], 'fixed'):
    raise DataError(f'has Category {data["Category"]!r}, which is no subtask.')
  for key in ('Query', 'Golden'):
    parts = data.get(key)
    if not isinstance(parts, list) or not parts or not all(map(_is_part, parts)):
      raise DataError(f'has a {key} that is no list of {{type: text | image, content}}.')
  if not isinstance(data.get('predict'), dict):
    raise DataError('has no predict.')


def _is_part(part: Any) -> bool:
  return isinstance(part, dict) and part.get('type') in KINDS and isinstance(part.get('content'), str)


def _relations(predict: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
  found = predict.get('block_qa', {})
  questions = found.get('questions', []) if isinstance(found, dict) else found
  if not isinstance(questions, list) or not all(isinstance(q, dict) for q in questions):
    raise DataError('has block questions that are no list of objects.')
  return tuple(questions)


def _questions(predict: Mapping[str, Any]) -> tuple[Question, ...] | None:
  found = predict.get('image_qa')
  if isinstance(found, dict):  # a list, or a dictionary whose first value is the list
    found = next(iter(found.values()), [])
  if found is None:
    return None
  try:
    return tuple(
      Question(str(q['image']), str(q['Question']), int(q['id']), tuple(map(int, q['Preliminary'])))
      for q in found
    )
  except (KeyError, TypeError, ValueError) as error:
    raise DataError(f'has an image question without image, Question, id or Preliminary ({error}).') from error


def _parts(
  parts: Sequence[Mapping[str, Any]], folder: pathlib.Path, where: str, mode: Mode, faults: list[Fault]
) -> tuple[Part | None, ...]:
  made: list[Part | None] = []
  for part in parts:
    if part['type'] == 'text':
      made.append(TextPart(part['content']))
      continue
    image, fault, _ = pictures.find(folder, part['content'], near=mode == 'fixed')
    faults += [Fault(where, fault)] if fault else []
    made.append(ImagePart(image) if image else None)
  return tuple(made)
