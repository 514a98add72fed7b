"""LLMI-Bench's records: a JSON list of `{prompt, images, r1 … r10}`; `images` is there for requests with
pictures.

Fields as `evaluation/eval_text_only.py` and `eval_mm.py` of github.com/ByteDance-BandAI/LLM-I, a20e409, read
them. Ours may also have `tools`, the tools that a right answer uses.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.eval import lines, pictures
from llmi_jax.eval.lines import Row
from llmi_jax.eval.record import Fault, Mode, Record

MARK = '<image>'
_MOST = 10


class Payload(NamedTuple):
  """What only this benchmark reads of its tasks.

  Attributes:
    number: of the sample, from 1.
    prompt: as it stands.
    criteria: by name; `repo` closes gaps among the names as the reference does.
  """

  number: int
  prompt: str
  criteria: Mapping[str, str]


def read(path: str | pathlib.Path, mode: Mode) -> Iterator[Record | Fault]:
  """The records of a file, in order.

  Args:
    path: of the file; pictures lie within its folder.
    mode: of the benchmark. A picture that cannot be read is left out by `repo` and leaves out the record in
      `fixed`.

  Raises:
    DataError: the file cannot be read.
  """
  path = pathlib.Path(path)
  for index, row in enumerate(lines.elements(path), 1):
    yield row if isinstance(row, Fault) else _record(row, index, path.parent, mode)


def _record(row: Row, index: int, folder: pathlib.Path, mode: Mode) -> Record | Fault:
  data = row.data
  try:
    criteria = _criteria(data, mode)
    names = _texts(data, 'images')
    tools = _texts(data, 'tools')
  except DataError as error:
    return Fault(row.where, str(error))
  shown: list[Image] = []
  faults: list[Fault] = []
  for name in names:
    image, fault, _ = pictures.find(folder, name, near=mode == 'fixed')
    faults += [Fault(row.where, fault)] if fault else []
    shown += [image] if image else []
    if image is None and mode == 'fixed':
      return faults[-1]
  prompt = data['prompt']
  task = Task(
    id=f'{index:03d}',
    messages=(Message('user', _interleaved(prompt, shown)),),
    question=prompt.replace(MARK, '').strip(),
    image_rule=ImageRule('free'),
    required_tools=tuple(sorted(set(tools))),
    rubric=tuple(criteria.values()),
    category=('pictures' if names else 'text',),
    source='LLMI-Bench',
    split='test',
    payload=Payload(index, prompt, criteria),
  )
  return Record(task, row.where, 'with pictures' if names else 'text only', tuple(faults))


def _criteria(data: Mapping[str, Any], mode: Mode) -> dict[str, str]:
  if not isinstance(data.get('prompt'), str) or not data['prompt'].strip():
    raise DataError('has no text as its prompt.')
  found = {f'r{i}': data[f'r{i}'] for i in range(1, _MOST + 1) if f'r{i}' in data}
  if not found or not all(isinstance(words, str) and words.strip() for words in found.values()):
    raise DataError('has no criteria r1 to r10, or one that is no text.')
  return {f'r{i}': words for i, words in enumerate(found.values(), 1)} if mode == 'repo' else found


def _texts(data: Mapping[str, Any], name: str) -> list[str]:
  value = data.get(name) or []
  if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
    raise DataError(f'has {name} that is no list of texts.')
  return value


def _interleaved(prompt: str, shown: list[Image]) -> tuple[Part, ...]:
  """Pictures in place of the marks, in order; those without a mark first."""
  pieces = prompt.split(MARK)
  free = max(0, len(shown) - (len(pieces) - 1))
  parts: list[Part] = [ImagePart(image) for image in shown[:free]]
  left = iter(shown[free:])
  for index, piece in enumerate(pieces):
    image = next(left, None) if index else None
    parts += [ImagePart(image)] if image else []
    parts += [TextPart(piece)] if piece.strip() else []
  return tuple(parts)
