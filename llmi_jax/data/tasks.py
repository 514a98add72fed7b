"""Task files: parquet in the schema of LLM-I's public data, read and written.

Columns: `prompt` (a plain string, or messages `{role, content}` with an `<image>` mark where each picture
stands), `images` (`{bytes, path}`, optional), `data_source`, and `extra_info` with `split`, `question`,
`image_num` (−1 none, 0 free, 99 at least one, n exactly n) and `tools`. Ours also writes `id`, `cue`, `twin`,
`rubric`, `licence`, `category`, `source` and `offered_tools` there; other programs ignore them.
"""

import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.data.builtin import generate
from llmi_jax.data.builtin.topics import SPLITS
from llmi_jax.services import images

BUILTIN = 'builtin'
MARK = '<image>'
_ROLES = ('system', 'user', 'assistant')
_CUES = ('implicit', 'explicit')
_ROWS_AT_ONCE = 64

_TEXTS = pa.list_(pa.string())
SCHEMA = pa.schema(
  {
    'data_source': pa.string(),
    'prompt': pa.list_(pa.struct({'role': pa.string(), 'content': pa.string()})),
    'images': pa.list_(pa.struct({'bytes': pa.binary(), 'path': pa.string()})),
    'extra_info': pa.struct(
      {
        **{'split': pa.string(), 'question': pa.string(), 'image_num': pa.int64(), 'tools': _TEXTS},
        **{'id': pa.string(), 'cue': pa.string(), 'twin': pa.string(), 'rubric': _TEXTS},
        **{'licence': pa.string(), 'category': _TEXTS, 'source': pa.string(), 'offered_tools': _TEXTS},
      }
    ),
  }
)


def load(path: str | pathlib.Path, split: str | None = None) -> list[Task]:
  """Reads tasks, in the file's order.

  Args:
    path: a parquet file; `builtin` for the built-in tasks.
    split: only rows of this split; None for all.

  Raises:
    DataError: the file cannot be read, lacks a column, holds a bad row, or has no row of the split.
  """
  if str(path) == BUILTIN:
    splits = SPLITS if split is None else (split,)
    built_in = [task for name in splits if name in SPLITS for task in generate.tasks(name)]
    tasks = _read(table(built_in).to_batches(), str(path), pathlib.Path())
  else:
    tasks = _read_file(pathlib.Path(path))
  _check_unique(tasks, str(path))
  found = [task for task in tasks if split in (None, task.split)]
  if not found:
    known = ', '.join(sorted({task.split for task in tasks})) or 'none'
    raise DataError(f'{path} has no task of the split {split!r}; its splits: {known}.')
  return found


def each(path: str | pathlib.Path, split: str | None = None) -> Iterator[Task | DataError]:
  """Reads tasks one at a time, in the file's order; a row that is broken or stands there twice is its error.

  Args:
    path: as for `load`.
    split: only rows of this split; None for all.

  Raises:
    DataError: the file cannot be read or lacks a column.
  """
  if str(path) == BUILTIN:
    yield from load(path, split)
    return
  seen: set[str] = set()
  for number, row in enumerate(_stored(pathlib.Path(path))):
    reader = _Row(row, number, str(path), pathlib.Path(path).parent, {})
    try:
      task = reader.task()
    except DataError as error:
      yield error
      continue
    if task.id in seen:
      yield DataError(f'{path}, row {number}, column extra_info.id: {task.id!r} stands there twice.')
    elif split in (None, task.split):
      yield task
    seen.add(task.id)


def save(tasks: Sequence[Task], path: str | pathlib.Path) -> None:
  """Writes tasks; `load` gives equal ones.

  Raises:
    DataError: a task holds something that the schema has no place for, or the file cannot be written.
  """
  try:
    pq.write_table(table(tasks), path)
  except OSError as error:
    raise DataError(f'The task file {path} cannot be written: {error}.') from error


def table(tasks: Sequence[Task]) -> pa.Table:
  """Tasks as a table of `SCHEMA`.

  Raises:
    DataError: a task holds something that the schema has no place for.
  """
  return pa.Table.from_pylist([_row(task) for task in tasks], schema=SCHEMA)


def _row(task: Task) -> dict[str, Any]:
  unstored = [
    n for n in ('gold', 'gold_steps', 'follow_ups', 'payload') if getattr(task, n) not in (None, ())
  ]
  if unstored:
    raise DataError(f'Task {task.id} has {unstored[0]}, which task files cannot hold; store it without.')
  pictures = task.input_images
  extra = {
    **{'split': task.split, 'question': task.question, 'image_num': task.image_rule.image_num},
    **{'tools': list(task.required_tools), 'offered_tools': list(task.offered_tools), 'id': task.id},
    **{'cue': task.cue, 'twin': task.twin, 'rubric': list(task.rubric), 'licence': task.licence},
    **{'category': list(task.category), 'source': task.source},
  }
  return {
    'data_source': 'interleaved_mm' if pictures else 'interleaved',
    'prompt': [{'role': m.role, 'content': _marked(m, task)} for m in task.messages],
    'images': [{'bytes': image.png, 'path': None} for image in pictures],
    'extra_info': extra,
  }


def _marked(message: Message, task: Task) -> str:
  texts = [part.text for part in message.content if isinstance(part, TextPart)]
  if any(MARK in text for text in texts):
    raise DataError(
      f'A message of task {task.id} says {MARK}, which marks a picture in task files; reword it.'
    )
  return ''.join(part.text if isinstance(part, TextPart) else MARK for part in message.content)


def _read_file(path: pathlib.Path) -> list[Task]:
  pictures: dict[str, Image] = {}
  rows = enumerate(_stored(path))
  return [_Row(row, number, str(path), path.parent, pictures).task() for number, row in rows]


def _stored(path: pathlib.Path) -> Iterator[dict[str, Any]]:
  """The rows of a file, a few in memory at a time."""
  try:
    with pq.ParquetFile(path) as file:
      names = file.schema_arrow.names
      for column in ('prompt', 'extra_info'):
        if column not in names:
          raise DataError(f'{path} has no column {column!r}; it has {", ".join(names)}.')
      columns = [name for name in SCHEMA.names if name in names]
      for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
        yield from batch.to_pylist()
  except (OSError, pa.ArrowException) as error:
    reason = str(error).splitlines()[0].rstrip('.')
    raise DataError(f'The task file {path} cannot be read ({reason}); is it parquet?') from error


def _read(batches: Any, name: str, folder: pathlib.Path) -> list[Task]:
  rows = (row for batch in batches for row in batch.to_pylist())
  pictures: dict[str, Image] = {}
  return [_Row(row, number, name, folder, pictures).task() for number, row in enumerate(rows)]


def _check_unique(tasks: Sequence[Task], name: str):
  seen: set[str] = set()
  for number, task in enumerate(tasks):
    if task.id in seen:
      raise DataError(f'{name}, row {number}, column extra_info.id: {task.id!r} stands there twice.')
    seen.add(task.id)


class _Row:
  """One row on its way to a task; every complaint names file, row and column."""

  def __init__(
    self, row: Mapping[str, Any], number: int, name: str, folder: pathlib.Path, pictures: dict[str, Image]
  ):
    self._row, self._number, self._name, self._folder = row, number, name, folder
    self._pictures = pictures
    extra = row.get('extra_info')
    self._extra: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}

  def task(self) -> Task:
    source = self._text('source') or str(self._row.get('data_source') or '')
    cue = self._text('cue') or 'implicit'
    if cue not in _CUES:
      raise self._error('extra_info.cue', f'{cue!r} is none of {", ".join(_CUES)}')
    return Task(
      id=self._text('id') or f'{pathlib.PurePath(self._name).stem}:{self._number}',
      messages=self._messages(),
      question=self._text('question', needed=True),
      image_rule=self._rule(),
      required_tools=tuple(sorted(set(self._texts('tools', needed=True)))),
      offered_tools=self._texts('offered_tools'),
      cue=cue,
      twin=self._text('twin') or None,
      rubric=self._texts('rubric'),
      category=self._texts('category'),
      source=source,
      licence=self._text('licence'),
      split=self._text('split', needed=True),
    )

  def _messages(self) -> tuple[Message, ...]:
    prompt = self._row.get('prompt')
    if isinstance(prompt, str):
      prompt = [{'role': 'user', 'content': prompt}]
    if not isinstance(prompt, list) or not prompt:
      raise self._error('prompt', 'it is neither a text nor a list of messages')
    pictures = [self._picture(i, entry) for i, entry in enumerate(self._row.get('images') or ())]
    unused = iter(pictures)
    messages = tuple(self._message(message, unused) for message in prompt)
    marks = sum(message['content'].count(MARK) for message in prompt)
    if marks != len(pictures):
      raise self._error('prompt', f'it has {marks} {MARK} marks for {len(pictures)} pictures')
    return messages

  def _message(self, message: Any, pictures: Iterator[Image]) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get('content'), str):
      raise self._error('prompt', 'a message has no text as its content')
    if message.get('role') not in _ROLES:
      raise self._error('prompt', f'the role {message.get("role")!r} is none of {", ".join(_ROLES)}')
    parts: list[Part] = []
    for i, text in enumerate(message['content'].split(MARK)):
      picture = next(pictures, None) if i else None
      parts += [ImagePart(picture)] if picture else []
      parts += [TextPart(text)] if text else []
    return Message(message['role'], tuple(parts))

  def _picture(self, index: int, entry: Any) -> Image:
    """Equal files are decoded once."""
    column = f'images[{index}]'
    if not isinstance(entry, Mapping) or not (entry.get('bytes') or entry.get('path')):
      raise self._error(column, 'it has neither bytes nor a path')
    try:
      data = entry.get('bytes') or (self._folder / entry['path']).read_bytes()
      key = hashlib.sha256(data).hexdigest()
      if key not in self._pictures:
        self._pictures[key] = images.decode(data)
      return self._pictures[key]
    except (DataError, OSError) as error:
      raise self._error(column, str(error).rstrip('.')) from error

  def _rule(self) -> ImageRule:
    number = self._extra.get('image_num')
    if not isinstance(number, int) or isinstance(number, bool):
      raise self._error('extra_info.image_num', f'{number!r} is no whole number')
    try:
      return ImageRule.from_image_num(number)
    except ValueError as error:
      raise self._error('extra_info.image_num', str(error).rstrip('.')) from error

  def _text(self, key: str, *, needed: bool = False) -> str:
    value = self._extra.get(key)
    if value is None and not needed:
      return ''
    if not isinstance(value, str):
      raise self._error(f'extra_info.{key}', 'it is missing' if value is None else f'{value!r} is no text')
    return value

  def _texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
    value = self._extra.get(key)
    if value is None and not needed:
      return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
      raise self._error(
        f'extra_info.{key}', 'it is missing' if value is None else f'{value!r} is no list of texts'
      )
    return tuple(value)

  def _error(self, column: str, why: str) -> DataError:
    return DataError(f'{self._name}, row {self._number}, column {column}: {why}; mend or remove the row.')
