"""Rollouts on disk: versioned parquet that pandas and `datasets` open, pictures beside it by hash.

    WORKDIR/rollouts/{train,eval}/step=N/proc=P.parquet      one row per sample, `SCHEMA`
    WORKDIR/images/<sha256>.png                              pictures, written once

The columns `step`, `prompt`, `completion` and `advantage` are TRL's, and so is one column per part of the
reward. `images` has the pictures themselves as `datasets` wants them, `{bytes, path}`.
"""

import dataclasses
import functools
import io
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Attribution
from llmi_jax.core.reward import Term
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data.rollout import (
  PictureRef,
  Piece,
  Result,
  RewardPart,
  Rollout,
  from_trajectory,
  pictures,
)
from llmi_jax.data.rollout_schema import DERIVED, KEY, REWARD, SCHEMA, VERSION, with_rewards
from llmi_jax.services import storage
from llmi_jax.services.files import write_atomically

Kind = Literal['train', 'eval']
_RECORD = [name for name in SCHEMA.names if name not in DERIVED]
EMBEDDED = 64 << 20  # bytes of pictures in one file; beyond them only their paths stand

_RESULT = ('status', 'fault', 'error', 'seconds')
_LEAVES = ('kind', 'tool', 'reason', 'picture.sha256', *(f'result.{name}' for name in _RESULT))
_PARTS = pa.schema(
  [
    ('row', pa.int64()),
    *((leaf.split('.')[-1], pa.float64() if leaf.endswith('seconds') else pa.string()) for leaf in _LEAVES),
  ]
)


def path(workdir: str | os.PathLike, kind: Kind, step: int, process: int = 0) -> pathlib.Path:
  """Where the rollouts of a step are kept."""
  return pathlib.Path(workdir) / 'rollouts' / kind / f'step={step}' / f'proc={process}.parquet'


def write(
  workdir: str | os.PathLike,
  kind: Kind,
  step: int,
  trajectories: Sequence[Trajectory],
  weights: Mapping[str, float],
  gate: str = 'paper',
  process: int = 0,
) -> pathlib.Path:
  """Writes the rollouts of one step, replacing the step's file if there is one.

  Args:
    workdir: the run's folder.
    kind: `train` or `eval`.
    step: names the file; a trajectory's own step is what its row says.
    trajectories: this process's samples.
    weights: reward weight by part name.
    gate: a key of `data.rollout.GATES`, which says what multiplies what.
    process: index of this process.

  Returns:
    The file's path.

  Raises:
    StorageError: the work folder cannot be written.
  """
  run = pathlib.Path(workdir).resolve().name
  made = [from_trajectory(t, weights, gate, run) for t in trajectories]
  images = {i.sha256: i for t in trajectories for i in pictures(t.task, t.answer)}
  return keep(workdir, kind, step, made, images, process)


def keep(
  workdir: str | os.PathLike,
  kind: Kind,
  step: int,
  made: Sequence[Rollout],
  images: Mapping[str, Image],
  process: int = 0,
) -> pathlib.Path:
  """Likewise, of rollouts that are flattened already and their pictures by hash."""
  write_images(workdir, images.values())
  rows = [_row(rollout) for rollout in made]
  _embed(rows, images)
  parts = list(dict.fromkeys(part.name for rollout in made for part in rollout.parts))
  buffer = io.BytesIO()
  schema = with_rewards(tuple(parts))
  table = pa.Table.from_pylist(rows, schema)
  pq.write_table(table, buffer, compression='zstd', compression_level=1)
  target = path(workdir, kind, step, process)
  write_atomically(target, buffer.getvalue())
  return target


def write_images(workdir: str | os.PathLike, images: Iterable[Image]) -> None:
  """Writes pictures under their hashes; those that are there already are left alone."""
  for image in images:
    target = pathlib.Path(workdir) / 'images' / f'{image.sha256}.png'
    if not target.exists():
      write_atomically(target, image.png)


def read(source: str | os.PathLike, ids: Iterable[str] | None = None) -> Iterator[Rollout]:
  """Yields rollouts of a file, or of every file below a folder in order of step and process.

  Args:
    source: a parquet file, a folder of them, or a missing folder, which has none.
    ids: yields only these.

  Raises:
    DataError: a file is broken or of a newer version.
  """
  wanted = None if ids is None else pa.array(sorted(set(ids)), pa.string())
  for file in files(source):
    table = _open(file, _RECORD)
    if wanted is not None:
      table = table.filter(pc.field('id').isin(wanted))
    for batch in table.to_batches(max_chunksize=256):
      yield from map(_rollout, batch.to_pylist())


def columns(source: str | os.PathLike, names: Sequence[str]) -> pa.Table:
  """Some columns of all rows, in the order of `read`; costs a fraction of it.

  Those of reward parts are among them: what `rewards` names, with `reward_` before it.
  """
  field = lambda name: SCHEMA.field(name) if name in SCHEMA.names else pa.field(name, pa.float64())
  schema = pa.schema(list(map(field, names)))
  tables = [
    _open(file, names).select(names).replace_schema_metadata(None).cast(schema) for file in files(source)
  ]
  return pa.concat_tables(tables) if tables else schema.empty_table()


def rewards(file: str | os.PathLike) -> list[str]:
  """The parts of the reward that have a column in a file."""
  names = _open(pathlib.Path(file), None).schema.names
  return [name.removeprefix(REWARD) for name in names if name.startswith(REWARD)]


def parts(source: str | os.PathLike) -> pa.Table:
  """The parts of all answers as one flat table, without their texts.

  Returns:
    `row` (which rollout, counted in the order of `read`), `kind`, `tool`, `reason`, the picture's `sha256`,
    and of what the tool said `status`, `fault`, `error` and `seconds`.
  """
  tables, rows = [], 0
  for file in files(source):
    answers: Any = _open(file, [f'answer.list.element.{leaf}' for leaf in _LEAVES])['answer'].combine_chunks()
    flat = pc.call_function('list_flatten', [answers])
    found = {leaf.split('.')[-1]: _leaf(flat, leaf) for leaf in _LEAVES}
    parents = pc.call_function('list_parent_indices', [answers]).to_numpy()
    tables.append(pa.table({'row': pa.array(parents + rows, pa.int64()), **found}).cast(_PARTS))
    rows += len(answers)
  return pa.concat_tables(tables) if tables else _PARTS.empty_table()


def _leaf(flat: Any, leaf: str) -> Any:
  """What lies inside structs; null where one of them is."""
  return pc.call_function('struct_field', [flat], pc.StructFieldOptions(leaf.split('.')))  # pyright: ignore[reportAttributeAccessIssue]


def files(source: str | os.PathLike) -> list[pathlib.Path]:
  """The parquet files of a file or folder in order of step and process."""
  source = pathlib.Path(source)
  if source.is_file():
    return [source]
  return sorted(source.rglob('*.parquet'), key=lambda file: [_number(part) for part in file.parts[-2:]])


def remove_after(workdir: str | os.PathLike, step: int) -> None:
  """Removes the rollouts of later steps, as a run does that goes back to a checkpoint."""
  folder = pathlib.Path(workdir) / 'rollouts'
  storage.sweep(folder)
  for later in [f for f in folder.glob('*/step=*') if _number(f.name) > step]:
    with storage.storing(later):
      shutil.rmtree(later)


def _number(name: str) -> int:
  found = re.search(r'\d+', name)
  return int(found[0]) if found else -1


def _open(file: pathlib.Path, names: Sequence[str] | None) -> pa.Table:
  """Some columns of a file; for None an empty table that has all of them."""
  try:
    with pq.ParquetFile(file) as opened:
      version = (opened.schema_arrow.metadata or {}).get(KEY, b'').decode()
      if version != str(VERSION):
        raise DataError(f'{file} has rollouts of version {version or "unknown"}; version {VERSION} is read.')
      return opened.schema_arrow.empty_table() if names is None else opened.read(columns=list(names))
  except (pa.ArrowException, OSError) as error:
    reason = str(error).splitlines()[0].rstrip('.')
    raise DataError(f'{file} cannot be read as rollouts ({reason}); remove it.') from error


def _row(rollout: Rollout) -> dict[str, Any]:
  row = plain(rollout)
  row |= {REWARD + part.name: part.value for part in rollout.parts}
  row['timings'] = [{'name': name, 'seconds': seconds} for name, seconds in rollout.timings]
  for piece in (*row['request'], *row['answer']):
    if piece['picture']:
      piece['picture']['path'] = PictureRef(**piece['picture']).path
  return row


def _embed(rows: Sequence[dict[str, Any]], images: Mapping[str, Image]) -> None:
  """Gives each row its pictures; what would make the file too large stands without its bytes."""
  left = EMBEDDED
  for row in rows:
    shown = [piece['picture'] for piece in (*row['request'], *row['answer']) if piece['picture']]
    row['images'] = []
    for sha256, path in dict.fromkeys((picture['sha256'], picture['path']) for picture in shown):
      png = images[sha256].png
      embedded = png if len(png) <= left else None
      row['images'].append({'bytes': embedded, 'path': path})
      left -= len(embedded or b'')


def plain(value: Any) -> Any:
  """Dataclasses as dicts, tuples and arrays as lists, texts as UTF-8 can hold them."""
  kind = type(value)
  if kind is str:
    return value if value.isascii() else value.encode('utf-8', 'backslashreplace').decode()
  if kind is tuple:
    return [plain(item) for item in value]
  if kind is np.ndarray:
    return value.tolist()
  if names := _names(kind):
    return {name: plain(getattr(value, name)) for name in names}
  return value


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
  """The fields of a dataclass; none of anything else."""
  return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


_ARRAYS = {'tokens': np.int32, 'mask': bool, 'logp_sampled': np.float32, 'logp_full': np.float32}


def _rollout(row: dict[str, Any]) -> Rollout:
  arrays = {name: np.asarray(row[name], dtype) for name, dtype in _ARRAYS.items()}
  records: dict[str, Any] = {
    'required_tools': tuple(row['required_tools']),
    'category': tuple(row['category']),
    'request': tuple(map(_piece, row['request'])),
    'answer': tuple(map(_piece, row['answer'])),
    'verdicts': tuple(map(_verdict, row['verdicts'])),
    'parts': tuple(RewardPart(**part) for part in row['parts']),
    'diagnostics': tuple(Term(**term) for term in row['diagnostics']),
    'timings': tuple((t['name'], t['seconds']) for t in row['timings']),
  }
  return Rollout(**{**row, **arrays, **records})


def _piece(row: dict[str, Any]) -> Piece:
  picture, result = row['picture'], row['result']
  if picture:
    picture = PictureRef(picture['sha256'], picture['width'], picture['height'], picture['source'])
  if result:
    credit = result['attribution']
    result = Result(**{**result, 'attribution': Attribution(**credit) if credit else None})
  return Piece(**{**row, 'picture': picture, 'result': result})


def _verdict(row: dict[str, Any]) -> Verdict:
  scores: Any = tuple(Score(**score) for score in row['scores'])
  return Verdict(**{**row, 'scores': scores})
