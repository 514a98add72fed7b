"""A run's record on disk: the tree as parquet, the account as JSON, pictures by hash.

FOLDER/tree.parquet      one row per revision, `SCHEMA`
FOLDER/account.json      what was spent, by stage and role
FOLDER/images/           as a run's work folder has them
"""

import dataclasses
import io
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmi_jax.core.task import Task
from llmi_jax.data import rollout, rollout_schema, rollouts
from llmi_jax.services.files import write_atomically
from llmi_jax.tts.ledger import Account
from llmi_jax.tts.pipeline import Result
from llmi_jax.tts.polish import NAME as POLISH
from llmi_jax.tts.polish import PAPER_SECONDS

TREE, ACCOUNT = 'tree.parquet', 'account.json'
VERSION = 1
_FATE = pa.struct(
  {
    'stage': pa.string(),
    'kept': pa.bool_(),
    'why': pa.string(),
    'value': pa.float64(),
  }
)
SCHEMA = pa.schema(
  [
    ('task', pa.string()),
    ('question', pa.string()),
    ('number', pa.int32()),  # of the answer, where several were asked for
    ('revision', pa.int32()),
    ('parent', pa.int32()),  # null for a sample
    ('sample', pa.int32()),  # that it descends from
    ('stage', pa.string()),
    ('changed', pa.list_(pa.int32())),  # image positions that differ from the parent's
    ('why', pa.string()),
    ('chosen', pa.bool_()),
    ('fates', pa.list_(_FATE)),  # what stages made of it, in order
    ('response', pa.string()),
    ('answer', rollout_schema.SCHEMA.field('answer').type),
    ('images', pa.list_(pa.string())),
  ],
  metadata={b'llmi_jax.tree': str(VERSION).encode()},
)


def rows(task: Task, number: int, result: Result) -> list[dict[str, Any]]:
  """One per revision."""
  tree, made = result.tree, []
  for index, revision in enumerate(tree.revisions):
    answer = revision.answer
    flat = rollout.from_answer(answer, task)
    row = {
      'task': task.id,
      'question': task.question,
      'number': number,
      'revision': index,
      'parent': revision.parent,
      'sample': tree.sample(index),
      'stage': revision.stage,
      'changed': list(revision.changed),
      'why': revision.why,
      'chosen': index == result.chosen,
      'fates': [
        {'stage': f.stage, 'kept': f.kept, 'why': f.why, 'value': f.value}
        for f in tree.fates
        if f.revision == index
      ],
      'response': flat.completion,
      'answer': [_piece(piece) for piece in flat.answer],
      'images': [picture.image.sha256 for picture in answer.pictures],
    }
    made.append(_utf8(row))
  return made


def _piece(piece: rollout.Piece) -> dict[str, Any]:
  plain = dataclasses.asdict(piece)
  if piece.picture:
    plain['picture']['path'] = piece.picture.path
  return plain


def _utf8(value: Any) -> Any:
  """The same with texts as UTF-8 can hold them."""
  if isinstance(value, str):
    return value.encode('utf-8', 'backslashreplace').decode()
  if isinstance(value, Mapping):
    return {key: _utf8(one) for key, one in value.items()}
  return [_utf8(one) for one in value] if isinstance(value, list | tuple) else value


def account(found: Account) -> dict[str, Any]:
  """What was spent, JSON-able."""
  polished = sum(
    spent.calls for (stage, role), spent in found.rows.items() if (stage, role) == (POLISH, 'polisher')
  )
  iteration = found.wall.get(POLISH, 0.0) / polished if polished else None
  return {
    'stages': [
      {'stage': stage, 'role': role, **dataclasses.asdict(spent)}
      for (stage, role), spent in found.rows.items()
    ],
    'wall': dict(found.wall),
    'seconds': found.seconds,
    'total': dataclasses.asdict(found.total),
    'stopped': dict(found.stopped),
    'polish_seconds_per_iteration': iteration,
    'polish_seconds_per_iteration_paper': PAPER_SECONDS,
  }


def write(
  folder: pathlib.Path, found: Iterable[tuple[Task, int, Result]], pictures: pathlib.Path | None = None
) -> pathlib.Path:
  """Writes record and account of some results; returns the tree's path.

  Args:
    folder: for both.
    found: task, number of the answer, and what it came to.
    pictures: the folder in which `images/` is, if it is another.

  Raises:
    StorageError: the folder cannot be written.
  """
  lines, accounts = [], []
  for task, number, result in found:
    lines += rows(task, number, result)
    accounts.append({'task': task.id, 'number': number, **account(result.account), 'notes': notes(result)})
    images = {p.image.sha256: p.image for r in result.tree.revisions for p in r.answer.pictures}
    rollouts.write_images(pictures or folder, [*task.input_images, *images.values()])
  buffer = io.BytesIO()
  pq.write_table(pa.Table.from_pylist(lines, SCHEMA), buffer, compression='zstd')
  write_atomically(folder / TREE, buffer.getvalue())
  write_atomically(folder / ACCOUNT, json.dumps(_utf8(accounts), indent=2).encode())
  return folder / TREE


def notes(result: Result) -> list[str]:
  """What stages had to say."""
  return [f'{note.stage}: {note.words}' for note in result.tree.notes]
