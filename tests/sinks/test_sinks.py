"""Sinks show what they are told, and none of them can stop a run."""

import logging
import subprocess
import sys

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from llmi_jax.core.errors import ConfigError
from llmi_jax.sinks import events, online, trace
from llmi_jax.sinks.board import Board
from llmi_jax.sinks.sink import Shown, Sinks, Span
from llmi_jax.sinks.trace import Trace


def written(folder):
  """Every event, its checksums found right by another implementation."""
  found = []
  for file in sorted(folder.iterdir(), key=lambda f: f.stat().st_mtime_ns):
    data = file.read_bytes()
    while data:
      length = int.from_bytes(data[:8], 'little')
      body = data[12 : 12 + length]
      for part, at in ((data[:8], 8), (body, 12 + length)):
        crc = crc32c(part)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert int.from_bytes(data[at : at + 4], 'little') == masked
      found.append(Event.FromString(body))
      data = data[16 + length :]
  assert found[0].file_version == 'brain.Event:2'
  return found


def test_tensorboard_reads_scalars_texts_and_pictures(tmp_path):
  board = Board(tmp_path)
  board.scalars(1, {'a/b': 0.5, 'gone': None})
  board.samples(1, [Shown('0/t/1', 'one\n![x](http://elsewhere/x.png)', ((b'PNG', 3, 2),))])
  board.close()
  values = [(e.step, v) for e in written(tmp_path) for v in e.summary.value]
  assert [(step, v.tag, v.simple_value) for step, v in values[:1]] == [(1, 'a/b', 0.5)]
  text, picture = values[1][1], values[2][1]
  assert text.metadata.plugin_data.plugin_name == 'text'
  # As code: Markdown of a policy names pictures that a page would load.
  shown = text.tensor.string_val[0].decode()
  assert '0/t/1' in shown and all(line.startswith('    ') for line in shown.splitlines())
  assert (picture.image.width, picture.image.height) == (3, 2)
  assert picture.image.encoded_image_string == b'PNG' and picture.tag == 'samples/0/0'


def test_checksums_and_numbers_are_those_of_others():
  for data in (b'', b'123456789', bytes(range(256)) * 9):
    assert events.checksum(data) == crc32c(data)
  found = Event.FromString(events.event(2**40, events.scalar('x', -0.1)))
  assert found.step == 2**40 and abs(found.summary.value[0].simple_value + 0.1) < 1e-7


def test_steps_that_come_again_hide_those_before(tmp_path):
  board = Board(tmp_path)
  board.scalars(5, {'a': 1.0})
  board.go_back(3)
  board.scalars(4, {'a': 2.0})
  board.close()
  assert [e.step for e in written(tmp_path) if e.session_log.status == 1] == [4]


SPANS = [
  Span('device', 'decode', 10.0, 11.0),
  Span('tool search', 'ok', 10.1, 10.6, '0/t/0'),
  Span('tool search', 'failed', 10.5, 10.9, '0/t/1'),
  Span('tool search', 'ok', 10.7, 10.8, '0/t/2'),
]


def test_a_trace_has_a_lane_per_kind_and_rows_for_what_overlaps(tmp_path):
  Trace(tmp_path).spans(1, SPANS)
  (file,) = tmp_path.iterdir()
  found = trace.read(file)
  lanes = {e['tid']: e['args']['name'] for e in found if e['name'] == 'thread_name'}
  calls = [e for e in found if e['ph'] == 'X' and e['cat'] == 'tool search']
  assert sorted(lanes.values()) == ['device', 'tool search', 'tool search']
  assert [(e['args'], e['ts'], e['dur']) for e in calls][:1] == [
    ({'step': 1, 'rollout': '0/t/0'}, 10_100_000, 500_000)
  ]
  assert [e['tid'] for e in calls] == [calls[0]['tid'], calls[1]['tid'], calls[0]['tid']]
  assert len({e['tid'] for e in calls}) == 2


def test_a_trace_goes_on_and_goes_back(tmp_path):
  for step in (99, 100, 101):
    Trace(tmp_path).spans(step, SPANS)
  assert [f.name for f in sorted(tmp_path.iterdir())] == [
    'steps=000001-000100.json',
    'steps=000101-000200.json',
  ]
  with open(tmp_path / 'steps=000001-000100.json', 'a') as file:
    file.write('{"ph": "X", "na')  # as a killed run leaves it
  again = Trace(tmp_path)
  again.go_back(99)
  again.spans(100, SPANS[:1])
  (file,) = tmp_path.iterdir()
  steps = [e['args']['step'] for e in trace.read(file) if e['ph'] == 'X']
  assert steps == [99] * 4 + [100]


class Failing:
  def __init__(self):
    self.told = 0

  def scalars(self, step, values):
    self.told += 1
    raise RuntimeError('the line is dead\nand more')


class Working(Failing):
  def scalars(self, step, values):
    self.told += 1


def test_a_failing_sink_warns_once_and_the_others_go_on(caplog):
  failing, working = Failing(), Working()

  def never():
    raise OSError(28, 'No space left on device')

  with caplog.at_level(logging.WARNING):
    sinks = Sinks({'unborn': never, 'failing': lambda: failing, 'working': lambda: working})
    sinks.scalars(1, {})
    sinks.scalars(2, {})
  assert (failing.told, working.told) == (1, 2)
  assert [message.split(' is told')[0] for message in caplog.messages] == [
    'The sink unborn',
    'The sink failing',
  ]
  assert 'RuntimeError: the line is dead)' in caplog.text


@pytest.mark.parametrize('make', [Board, Trace])
def test_a_full_disk_shuts_a_sink_and_no_more(make, tmp_path, caplog):
  (tmp_path / 'folder').write_text('in the way')
  sinks = Sinks({'view': lambda: make(tmp_path / 'folder')})
  for step in (1, 2):
    sinks.scalars(step, {'a': 1.0})
    sinks.spans(step, SPANS)
  sinks.close()
  assert len(caplog.records) == 1 and 'the run goes on' in caplog.text


class Tracker:
  """The interface that W&B and trackio share."""

  __name__ = 'wandb'

  def __init__(self):
    self.said = []

  def init(self, **options):
    self.said.append(options)

  def log(self, values, step):
    self.said.append((step, values))

  def finish(self):
    self.said.append('finished')


def test_a_tracker_never_asks_who_one_is(tmp_path, monkeypatch):
  monkeypatch.delenv('WANDB_API_KEY', raising=False)
  monkeypatch.delenv('WANDB_MODE', raising=False)
  monkeypatch.setenv('WANDB_SILENT', 'true')
  tracker = Tracker()
  sink = online.Online(tracker, tmp_path / 'mine', {'seed': 1})
  sink.scalars(3, {'a': 1.0, 'b': None})
  sink.close()
  assert tracker.said[0]['mode'] == 'offline' and tracker.said[0]['config'] == {'seed': 1}
  assert tracker.said[1:] == [(3, {'a': 1.0}), 'finished']


def test_trackers_are_imported_only_where_they_are_named():
  script = (
    'import sys\nfrom llmi_jax import audience\n'
    'print(sorted({"wandb", "trackio", "gradio", "tensorflow", "torch"} & set(sys.modules)))'
  )
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'


def test_a_tracker_that_is_not_installed_is_a_sentence(monkeypatch):
  monkeypatch.setitem(sys.modules, 'trackio', None)
  with pytest.raises(ConfigError, match=r'pip install "llmi_jax\[trackio\]"'):
    online.load('trackio')
