"""OpenING's form of an answer: `<NAME>_output/<uid>.json`, steps of text and at most one picture.

The shipped samples are `.json` or `.jsonl`, both one object; files named `.jpg` may hold PNG. The reference's
scorer lists `.json` alone and takes the last part of a picture's path.
"""

import io
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmi_jax.core.answer import Answer, AnswerPart, Gap, Picture, Prose
from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.eval import lines, pictures
from llmi_jax.eval.opening.records import MARK, Step, conversations, uid_of
from llmi_jax.eval.record import Answered, Fault, Mode, Record
from llmi_jax.services import images
from llmi_jax.services.files import write_atomically

_UID = re.compile('[0-9]{7}')
_PICTURES = frozenset(pictures.ENDINGS)
_ORIGIN = 'foreign'


def steps(answer: Answer, mode: Mode, most: int | None = None) -> list[Step]:
  """An answer as steps: each picture ends one; text behind the last picture is one of its own.

  A gap is worded in `fixed`; in `repo` nothing tells that a picture was meant.

  Args:
    answer: of any kind.
    mode: of the benchmark.
    most: steps that are kept.
  """
  found: list[Step] = []
  text = ''
  for part in answer.parts:
    if isinstance(part, Prose):
      text += part.text
    elif isinstance(part, Picture):
      found.append(Step(text.strip(), part.image))
      text = ''
    elif mode == 'fixed':
      text += f'\n[{part.words}]\n'
  if text.strip() or not found:
    found.append(Step(text.strip(), None))
  return found[:most]


def composed(task_id: str, found: list[Step], first: int = 0) -> Answer:
  """The answer that steps make; `first` is the first picture's position."""
  parts: list[AnswerPart] = []
  for step in found:
    parts += [Prose(step.text + '\n\n')] if step.text else []
    if step.image is not None:
      parts.append(Picture(step.image, first))
      first += 1
  return Answer(task_id, tuple(parts), origin=_ORIGIN)


def write(folder: pathlib.Path, record: Record, answer: Answer, mode: Mode, most: int | None = None) -> None:
  """Writes `<uid>.json` and its pictures, as JPEG.

  Raises:
    StorageError: the folder cannot be written.
  """
  output = []
  for step in steps(answer, mode, most):
    name = None
    if step.image is not None:
      name = f'{record.id}-o-{sum(s["image"] is not None for s in output)}.jpg'
      write_atomically(folder / name, _jpeg(step.image))
    output.append({'text': step.text, 'image': name})
  row = dict(record.task.payload.row)
  row['conversations'] = [row['conversations'][0], {'output': output}]
  write_atomically(folder / f'{record.id}.json', json.dumps(row, ensure_ascii=True, indent=2).encode())


class Folder:
  """The answers of one system."""

  def __init__(self, path: str | pathlib.Path, mode: Mode):
    """Lists the folder.

    Raises:
      DataError: it is none, or has no answer.
    """
    self.path = pathlib.Path(path)
    self.name = self.path.name.removesuffix('_output')
    self.faults: list[Fault] = []
    self._mode: Mode = mode
    self._files: dict[str, pathlib.Path] = {}
    try:
      entries = sorted(self.path.iterdir())
    except OSError as error:
      raise DataError(f'{path} cannot be read ({error.strerror}); give a folder of answers.') from error
    for entry in entries:
      self._take(entry)
    if not self._files:
      raise DataError(f'{path} has no answer; files named by uid such as 0101001.json are expected.')

  def _take(self, entry: pathlib.Path) -> None:
    uid, ending = entry.name.partition('.')[0], entry.suffix
    if ending.lower() in _PICTURES or entry.is_dir() or entry.name.startswith('.'):
      return
    known = ('.json',) if self._mode == 'repo' else ('.json', '.jsonl')
    if not _UID.fullmatch(uid):
      self.faults.append(Fault(str(entry), 'is not named by the seven digits of a uid.'))
    elif ending not in known:
      self.faults.append(Fault(str(entry), f'has a wrong ending; answers end in {" or ".join(known)}.'))
    elif uid in self._files:
      words = f'is a second answer to {uid}; {self._files[uid].name} was taken.'
      self.faults.append(Fault(str(entry), words))
    else:
      self._files[uid] = entry

  def unknown(self, ids: set[str]) -> list[Fault]:
    """Answers to no known record."""
    return [
      Fault(f'{path}:1', f'answers {uid}, which is no record.')
      for uid, path in self._files.items()
      if uid not in ids
    ]

  def read(self, record: Record) -> Answered:
    """The answer to a record; None where there is none or it cannot be read."""
    path = self._files.get(record.id)
    if path is None:
      return Answered((None,))
    row = lines.whole(path)
    if isinstance(row, Fault):
      return Answered((None,), (row,))
    try:
      # The reference goes by the file's name, and its shipped samples have no total_uid inside.
      uid = uid_of(row.data)
      output = conversations(row.data)[1]
    except DataError as error:
      return Answered((None,), (Fault(row.where, str(error)),))
    faults = []
    if uid != record.id:
      where = lines.line_of(path, '"data_id"')
      faults.append(Fault(where, f'says that it answers {uid}, and is named {path.name}.'))
      if self._mode == 'fixed':
        return Answered((None,), tuple(faults))
    parts = self._parts(record, path, output, faults)
    return Answered((Answer(record.id, tuple(parts), origin=self.name),), tuple(faults))

  def _parts(
    self, record: Record, path: pathlib.Path, output: Sequence[Mapping[str, Any]], faults: list[Fault]
  ) -> list[AnswerPart]:
    parts: list[AnswerPart] = []
    position = len(record.task.input_images)
    for step in output:
      text = step['text'].replace(MARK, '').strip()
      parts += [Prose(text + '\n\n')] if text else []
      if not step['image']:
        continue
      found = pictures.find(self.path, re.split(r'[/\\]', step['image'])[-1], near=self._mode == 'fixed')
      if found.fault:
        faults.append(Fault(lines.line_of(path, json.dumps(step['image'])), found.fault))
      if found.image is not None:
        parts.append(Picture(found.image, position))
        position += 1
      elif self._mode == 'fixed':
        parts.append(Gap('The picture that belongs here is missing.', position))
        position += 1
    return parts


def _jpeg(image: Image) -> bytes:
  buffer = io.BytesIO()
  images.to_pil(image).save(buffer, 'JPEG', quality=95, subsampling=0)
  return buffer.getvalue()
