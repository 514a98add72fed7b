"""Metric files survive kills, resumes and odd numbers."""

import json
import math
import pathlib

import numpy as np
import pytest

from llmi_jax import metrics
from llmi_jax.core.errors import DataError, StorageError


def test_one_object_per_step(tmp_path):
  writer = metrics.Writer(tmp_path)
  writer.write(0, {'reward/mean': np.float32(0.5), 'rollout/tokens': 12})
  assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == {
    'step': 0,
    'reward/mean': 0.5,
    'rollout/tokens': 12,
  }
  writer.write(1, {'reward/mean': 0.75})
  assert [line['step'] for line in metrics.read(tmp_path)] == [0, 1]


def test_what_is_not_finite_is_null(tmp_path):
  metrics.Writer(tmp_path).write(0, {'a': math.nan, 'b': -math.inf, 'c': None, 'd': np.float32('nan')})
  assert metrics.read(tmp_path) == [{'step': 0, 'a': None, 'b': None, 'c': None, 'd': None}]


def test_a_half_written_line_is_not_read_and_dropped_at_the_next_start(tmp_path):
  metrics.Writer(tmp_path).write(0, {'a': 1})
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 1, "a"')
  assert [line['step'] for line in metrics.read(tmp_path)] == [0]
  metrics.Writer(tmp_path).write(1, {'a': 2})
  assert [line['a'] for line in metrics.read(tmp_path)] == [1, 2]


def test_going_back_drops_later_lines(tmp_path):
  writer = metrics.Writer(tmp_path)
  for step in range(5):
    writer.write(step, {'a': step})
  resumed = metrics.Writer(tmp_path)
  resumed.truncate_after(2)
  resumed.write(3, {'a': 30})
  assert [(line['step'], line['a']) for line in metrics.read(tmp_path)] == [(0, 0), (1, 1), (2, 2), (3, 30)]


def test_a_broken_line_is_named(tmp_path):
  (tmp_path / 'metrics.jsonl').write_text('{"step": 0}\nno\n')
  with pytest.raises(DataError, match=r'Line 2 of .*metrics\.jsonl'):
    metrics.read(tmp_path)


def test_a_run_without_files_is_empty(tmp_path):
  assert metrics.read(tmp_path) == [] and metrics.read_summary(tmp_path) == {}


def test_a_full_disk_is_one_sentence():
  with pytest.raises(StorageError, match='No space left'):
    writer = metrics.Writer('/tmp')
    writer._path = pathlib.Path('/dev/full')
    writer.write(0, {'a': 1})


def test_the_summary_is_json_that_anything_reads(tmp_path):
  metrics.Writer(tmp_path).summarize({'steps': 3, 'eval_after': {'reward': math.nan, 'n': np.int64(4)}})
  text = (tmp_path / 'summary.json').read_text()
  assert (
    json.loads(text) == {'steps': 3, 'eval_after': {'reward': None, 'n': 4}} == metrics.read_summary(tmp_path)
  )


def test_durations_are_short():
  assert [metrics.duration(s) for s in (4.4, 65, 11220)] == ['4s', '1m05s', '3h07m']
