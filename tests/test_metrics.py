"""Metric files survive kills, resumes, odd numbers and a broken TensorBoard; progress suits its terminal."""

import io
import json
import logging
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


def test_tensorboard_reads_the_scalars(tmp_path):
  writer = metrics.Writer(tmp_path)
  writer.write(0, {'a/b': 0.5, 'gone': None})
  writer.truncate_after(-1)
  writer.write(0, {'a/b': 0.25})
  writer.close()
  events = _events(tmp_path)
  assert [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value] == [
    (0, 'a/b', 0.5),
    (0, 'a/b', 0.25),
  ]
  assert [e.step for e in events if e.session_log.status == 1] == [0]


def test_a_failing_tensorboard_warns_once_and_the_run_goes_on(tmp_path, caplog):
  (tmp_path / 'tb').write_text('in the way')
  writer = metrics.Writer(tmp_path)
  with caplog.at_level(logging.WARNING):
    writer.write(0, {'a': 1})
    writer.write(1, {'a': 2})
  assert len(caplog.records) == 1 and 'TensorBoard' in caplog.text
  assert len(metrics.read(tmp_path)) == 2
  writer.close()


def test_the_summary_is_json_that_anything_reads(tmp_path):
  metrics.Writer(tmp_path).summarize({'steps': 3, 'eval_after': {'reward': math.nan, 'n': np.int64(4)}})
  text = (tmp_path / 'summary.json').read_text()
  assert (
    json.loads(text) == {'steps': 3, 'eval_after': {'reward': None, 'n': 4}} == metrics.read_summary(tmp_path)
  )


SCALARS = {
  'reward/mean': 0.51234,
  'rollout/tokens': 13_000,
  'time/prefill': 0.5,
  'time/decode': 1.5,
  'time/tools': 0.25,
  'time/judge': 0.0,
  'time/update': 1.5,
}


def test_without_a_terminal_progress_is_plain_lines():
  stream = io.StringIO()
  with metrics.Progress(3, stream=stream, every=0) as progress:
    for step in (1, 2, 3):
      progress.update(step, SCALARS)
    progress.note('done')
  lines = stream.getvalue().splitlines()
  assert len(lines) == 4 and all(len(line) <= 160 for line in lines)
  assert lines[0].startswith('step 1/3  reward 0.512  6.5k tok/s  prefill 0.5s  decode 1.5s  update 1.5s')
  assert 'ETA' in lines[0] and '\x1b' not in stream.getvalue() and '\r' not in stream.getvalue()


def test_plain_lines_are_rare_but_the_first_and_last_are_there():
  stream = io.StringIO()
  with metrics.Progress(100, start=90, stream=stream, every=60) as progress:
    for step in range(91, 101):
      progress.update(step, SCALARS)
  assert [line.split()[1] for line in stream.getvalue().splitlines()] == ['91/100', '100/100']


def test_on_a_terminal_it_is_one_bar(monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '150')
  monkeypatch.setenv('NO_COLOR', '1')
  stream = Terminal()
  with metrics.Progress(2, stream=stream) as progress:
    progress.update(1, SCALARS)
    progress.note('saved [bold]')
  shown = stream.getvalue()
  assert '1/2' in shown and 'reward 0.512' in shown and 'saved [bold]' in shown
  assert '\x1b[3' not in shown  # no colour


def test_durations_are_short():
  assert [metrics.duration(s) for s in (4.4, 65, 11220)] == ['4s', '1m05s', '3h07m']


def _events(workdir):
  from tensorboardX.proto.event_pb2 import Event

  events = []
  for file in sorted((workdir / 'tb').iterdir(), key=lambda f: f.stat().st_mtime_ns):
    data = file.read_bytes()
    while data:
      length = int.from_bytes(data[:8], 'little')
      events.append(Event.FromString(data[12 : 12 + length]))
      data = data[16 + length :]
  return events


def test_a_transfer_is_a_bar_on_terminals_and_few_lines_elsewhere(monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  monkeypatch.setenv('TERM', 'xterm')
  for stream, every, wanted in (
    (Terminal(), 5.0, '2.0/2.0 GB'),
    (io.StringIO(), 0.0, 'Loading it: 2.0 of 2.0 GB'),
    (io.StringIO(), 3600.0, ''),
  ):
    with metrics.Transfer('Loading it', stream, every) as tell:
      tell(1_000_000_000, 2_000_000_000)
      tell(2_000_000_000, 2_000_000_000)
    assert wanted in stream.getvalue() and bool(stream.getvalue()) == bool(wanted)
