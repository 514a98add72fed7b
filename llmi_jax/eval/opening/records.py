"""OpenING's records: one JSON object per line, conversations of input steps and gold steps.

Schema as in `OpenING-benchmark/test_data.jsonl` at github.com/LanceZPF/OpenING, 56b663b; dev records have the
same.
"""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.eval import framing, lines, pictures
from llmi_jax.eval.lines import Row
from llmi_jax.eval.record import Fault, Mode, Record

BEGIN, MARK = '<BEGIN>', '<image>'
# Meta-topics by number. Records name them themselves, but one of them goes by two names.
TOPICS = {
  **{1: 'storybook', 2: 'report', 3: 'completion', 4: 'layout', 5: 'GUI', 6: 'image editing'},
  **{7: 'visual design', 8: 'exam', 9: 'graph', 10: 'event reasoning', 11: '2D reasoning', 12: '3D'},
  **{13: 'summary', 14: 'recommendation', 15: 'brainstorm', 16: 'time series', 17: 'geography'},
  **{18: 'social', 19: 'fashion', 20: 'cooking', 21: 'education', 22: 'health', 23: 'embodied'},
}


class Step(NamedTuple):
  """A text and the picture after it, if any.

  Attributes:
    text: without marks.
    image: None where there is none.
  """

  text: str
  image: Image | None


class Payload(NamedTuple):
  """What only this benchmark reads of its tasks.

  Attributes:
    row: the record as it stands in the file.
    steps: of the request, with those pictures that could be read.
  """

  row: Mapping[str, Any]
  steps: tuple[Step, ...]


def read(path: str | pathlib.Path, mode: Mode, hint: bool) -> Iterator[Record | Fault]:
  """The records of a file, in order.

  A picture of the request that cannot be read is named; `repo` asks without it, as the reference does,
  `fixed` leaves the record out.

  Args:
    path: of the file, or of the folder that holds `test_data.jsonl`; pictures lie beside it.
    mode: of the benchmark.
    hint: whether the request says how many steps the gold answer has, as the reference's generators do.

  Raises:
    DataError: the file cannot be read.
  """
  path = pathlib.Path(path)
  path = path / 'test_data.jsonl' if path.is_dir() else path
  seen: dict[str, str] = {}
  for row in lines.rows(path):
    found = row if isinstance(row, Fault) else _record(row, path.parent, mode, hint)
    if isinstance(found, Record):
      if found.id in seen:
        found = Fault(found.where, f'uid {found.id} stands there twice, first in {seen[found.id]}.')
      else:
        seen[found.id] = found.where
    yield found


def _record(row: Row, folder: pathlib.Path, mode: Mode, hint: bool) -> Record | Fault:
  try:
    uid = uid_of(row.data)
    steps, gold = conversations(row.data)
  except DataError as error:
    return Fault(row.where, str(error))
  parts: list[Part] = []
  shown: list[Step] = []
  faults: list[Fault] = []
  for step in steps:
    before, mark, after = step['text'].replace(BEGIN, '').partition(MARK)
    image = None
    if step['image']:
      image, fault, _ = pictures.find(folder, step['image'], near=mode == 'fixed')
      faults += [Fault(row.where, fault)] if fault else []
      if image is None and mode == 'fixed':
        return faults[-1]
    parts += [
      TextPart(before),
      *([ImagePart(image)] if image else []),
      TextPart(f'{after if mark else ""}\n'),
    ]
    shown.append(Step(f'{before}{after}'.replace(MARK, '').strip(), image))
  question = '\n'.join(step.text for step in shown).strip()
  if hint:
    # Our wording; the reference's says the same.
    parts.append(TextPart(f'\nAnswer in {len(gold)} steps; each is a text followed by one picture.'))
  task = Task(
    id=uid,
    messages=(Message('user', tidy(parts)),),
    question=question,
    image_rule=ImageRule('free'),
    category=(str(row.data['meta_task_name']), str(row.data['subtask_name'])),
    gold_steps=len(gold),
    source='OpenING',
    licence='none stated',
    split='test',
    payload=Payload(row.data, tuple(shown)),
  )
  topic = int(row.data['meta_task_id'])
  return Record(task, row.where, f'{topic:02d} {TOPICS.get(topic, "other")}', tuple(faults))


def uid_of(data: Mapping[str, Any]) -> str:
  """The seven digits that name a record.

  Raises:
    DataError: they are missing, or contradict the record's other numbers.
  """
  for name in ('meta_task_id', 'subtask_id', 'data_id', 'meta_task_name', 'subtask_name'):
    if not isinstance(data.get(name), str) or not data[name]:
      raise DataError(f'has no text as its {name}.')
  numbers = [data[name] for name in ('meta_task_id', 'subtask_id', 'data_id')]
  if not all(re.fullmatch('[0-9]{1,3}', number) for number in numbers):
    raise DataError(f'has meta_task_id, subtask_id and data_id {numbers}, which are no numbers.')
  meta, subtask, number = map(int, numbers)
  built = f'{meta:02d}{subtask:02d}{number:03d}'
  if (uid := data.get('total_uid', built)) != built:
    raise DataError(f'has total_uid {uid!r}, and its other numbers make {built}.')
  return built


def conversations(data: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Input steps and output steps, each `{text, image}`.

  Raises:
    DataError: they have another form.
  """
  try:
    first, second = data['conversations']
    steps, gold = first['input'], second['output']
  except (KeyError, TypeError, ValueError) as error:
    raise DataError('has no conversations [{input}, {output}].') from error
  for name, found in (('input', steps), ('output', gold)):
    if not isinstance(found, list) or not all(map(_is_step, found)):
      raise DataError(f'has an {name} that is no list of {{text, image}}.')
  if not steps:
    raise DataError('has no input step.')
  return steps, gold


def _is_step(step: Any) -> bool:
  return (
    isinstance(step, dict)
    and isinstance(step.get('text'), str)
    and (step.get('image') is None or isinstance(step.get('image'), str))
  )


def tidy(parts: list[Part]) -> tuple[Part, ...]:
  """Neighbouring texts joined, outer blanks and empty texts left out."""
  joined = framing.joined(parts)
  texts = [i for i, part in enumerate(joined) if isinstance(part, TextPart)]
  for i, strip in ((texts[:1], str.lstrip), (texts[-1:], str.rstrip)):
    for index in i:
      part = joined[index]
      assert isinstance(part, TextPart)
      joined[index] = TextPart(strip(part.text))
  return tuple(p for p in joined if not isinstance(p, TextPart) or p.text)
