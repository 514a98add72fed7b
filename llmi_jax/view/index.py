"""What is known of every rollout without reading it whole: small, in memory, fresh while runs train."""

import dataclasses
import json
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.data import rollouts
from llmi_jax.data.rollout import Rollout

# Columns of an index that are read as they stand.
_READ = ('id', 'step', 'task', 'sample', 'question', 'reward', 'advantage')
NUMBERS = ('reward', 'advantage', 'step', 'length', 'pictures', 'calls', 'errors')


class Run:
  """One run's folder.

  Attributes:
    name: unlike those of the other runs that are shown.
    folder: where it is.
  """

  def __init__(self, name: str, folder: pathlib.Path):
    self.name = name
    self.folder = folder

  def config(self) -> dict[str, Any]:
    """Its configuration, empty where it has none.

    Raises:
      DataError: the file is broken.
    """
    path = self.folder / 'config.json'
    try:
      return json.loads(path.read_bytes()) if path.exists() else {}
    except ValueError as error:
      raise DataError(f'{path} is no JSON; restore it from the run that wrote it.') from error

  @property
  def finished(self) -> bool:
    return (self.folder / 'summary.json').exists()


def runs(folders: Sequence[str | os.PathLike]) -> list[Run]:
  """The runs of these folders under names of their own.

  Raises:
    ConfigError: none is named, or one is no run.
  """
  if not folders:
    raise ConfigError('No run is named; try python -m llmi_jax.view runs/grpo_tiny.')
  found: list[Run] = []
  for folder in (pathlib.Path(f) for f in folders):
    if not (folder / 'rollouts').is_dir():
      raise ConfigError(f'{folder} has no folder rollouts; name the work folder of a run.')
    plain = name = folder.resolve().name
    taken, number = {run.name for run in found}, 2
    while name in taken:
      name, number = f'{plain}-{number}', number + 1
    found.append(Run(name, folder))
  return found


class Index:
  """The rows of several runs, read again only where files have changed.

  Attributes:
    runs: in the order in which they were named.
    version: grows whenever rows came or went.
    table: a row per rollout: `run`, `kind`, `file` (the step that names its file), `id`, `step`,
      `task`, `sample`, `question`, `reward`, `advantage`, `length` (tokens), `picture` (hash of the first),
      `pictures`, `calls`, `errors`, `truncated`, `tools`, `text` (what a search looks at, in lower case), and
      `reward_NAME` for every part.
  """

  def __init__(self, found: Sequence[Run]):
    self.runs = list(found)
    self.version = 0
    self.table = pa.table({})
    self._files: dict[pathlib.Path, tuple[tuple[int, int], pa.Table]] = {}
    self._lock = threading.Lock()
    self.refresh()

  def refresh(self) -> bool:
    """Looks for new, changed and removed files; whether there were any.

    Raises:
      DataError: a file is broken or of another version.
    """
    with self._lock:
      seen: dict[pathlib.Path, tuple[tuple[int, int], pa.Table]] = {}
      changed = False
      for run, kind, file in self._found():
        try:
          status = file.stat()
        except FileNotFoundError:  # a run that went back to a checkpoint
          continue
        stamp = status.st_mtime_ns, status.st_size
        known = self._files.get(file)
        if known is None or known[0] != stamp:
          known, changed = (stamp, _rows(run, kind, file)), True
        seen[file] = known
      changed |= len(seen) != len(self._files) or not self.version
      if changed:
        tables = [table for _, table in seen.values()]
        whole = pa.concat_tables(tables, promote_options='default') if tables else _rows('', '', None)
        self.table, self._files = whole.combine_chunks(), seen
        self.version += 1
      return changed

  def run(self, name: str) -> Run | None:
    """The run of that name."""
    return next((run for run in self.runs if run.name == name), None)

  @property
  def parts(self) -> list[str]:
    """The parts that rewards have, by name."""
    return [n.removeprefix(rollouts.REWARD) for n in self.table.schema.names if n.startswith(rollouts.REWARD)]

  @property
  def numbers(self) -> list[str]:
    """Names of what can be sorted and bounded."""
    return ['reward', *(rollouts.REWARD + part for part in self.parts), *NUMBERS[1:]]

  def number(self, name: str) -> np.ndarray:
    """[rows] float64; NaN where there is none."""
    return self.table[name].to_numpy(zero_copy_only=False).astype(float)

  def find(self, address: str, kind: str = '') -> int | None:
    """The row of `run/step/task/sample`; of an evaluation and a training sample of one name, the latter."""
    name, _, id = address.partition('/')
    mask = pc.call_function('and', [_equal(self.table['run'], name), _equal(self.table['id'], id)])
    if kind:
      mask = pc.call_function('and', [mask, _equal(self.table['kind'], kind)])
    found = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
    return int(found[-1]) if found.size else None

  def read(self, row: int) -> Rollout | None:
    """A rollout, whole, from its file; None where that is gone."""
    about = self.about(row)
    run = self.run(about['run'])
    if run is None:
      return None
    folder = run.folder / 'rollouts' / about['kind']
    for file in rollouts.files(folder / f'step={about["file"]}'):
      for rollout in rollouts.read(file, [about['id']]):
        return dataclasses.replace(rollout, run=run.name)
    return None

  def about(self, row: int) -> dict[str, Any]:
    """A row's values."""
    return {name: self.table[name][row].as_py() for name in self.table.schema.names if name != 'text'}

  def _found(self) -> Iterator[tuple[str, str, pathlib.Path]]:
    for run in self.runs:
      for kind in ('eval', 'train'):
        for file in rollouts.files(run.folder / 'rollouts' / kind):
          yield run.name, kind, file


def _rows(run: str, kind: str, file: pathlib.Path | None) -> pa.Table:
  """The index of one file; of none, an empty one."""
  source = file or pathlib.Path('none')
  names = [rollouts.REWARD + part for part in rollouts.rewards(source)] if file else []
  table = rollouts.columns(source, [*_READ, *names, 'completion', 'finish', 'tokens'])
  parts = rollouts.parts(source)
  count, row = table.num_rows, parts['row'].to_numpy()
  kinds = np.array(parts['kind'].to_pylist(), object)
  per = lambda mask: np.bincount(row[mask], minlength=count).astype(np.int64)
  called: list[list[str]] = [[] for _ in range(count)]
  first = [''] * count
  for at, tool, sha256 in zip(row.tolist(), parts['tool'].to_pylist(), parts['sha256'].to_pylist()):
    if tool:
      called[at].append(tool)
    first[at] = first[at] or sha256 or ''
  searched = [table[name].combine_chunks() for name in ('id', 'question', 'completion')]
  text = pc.call_function('binary_join_element_wise', [*searched, pa.scalar('\n')])
  made = {
    'run': pa.array([run] * count, pa.string()),
    'kind': pa.array([kind] * count, pa.string()),
    'file': pa.array([_step(file)] * count, pa.int64()),
    'length': pc.call_function('list_value_length', [table['tokens']]).cast(pa.int64()),
    'picture': pa.array(first, pa.string()),
    'pictures': per(kinds == 'picture'),
    'calls': per(np.array([said is not None for said in parts['status'].to_pylist()], bool)),
    'errors': per(kinds == 'gap'),
    'truncated': pc.call_function('equal', [table['finish'], pa.scalar('length')]),
    'tools': pa.array([' '.join(['', *tools, '']) for tools in called], pa.string()),
    'text': pc.call_function('utf8_lower', [text]).cast(pa.large_string()),
  }
  kept = {name: table[name] for name in (*_READ, *names)}
  return pa.table({**kept, **made})


def _step(file: pathlib.Path | None) -> int:
  return int(file.parent.name.removeprefix('step=')) if file else 0


def _equal(column: pa.ChunkedArray, value: str) -> Any:
  return pc.call_function('equal', [column, pa.scalar(value)])
