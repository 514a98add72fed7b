"""Geometry, memory, endings and starts in words."""

import json
import pathlib

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.terminal import ending, memory, start
from llmi_jax.terminal.geometry import Geometry

RUN = pathlib.Path('runs/a b')


def test_geometry_is_one_line_with_units():
  assert Geometry(8, 8, most=2, micro=(2, 2)).line() == (
    'Each step: 8 prompts × 8 samples per prompt = 64 samples → micro-batches of 16 samples × '
    '1 device group × 4 accumulated = 1 update of 64 samples'
  )
  assert Geometry(32, 8, 2, 2, 4, micro=(1, 4)).line() == (
    'Each step: 32 prompts × 8 samples per prompt = 256 samples → micro-batches of 8 to 16 samples × '
    '8 device groups × 1 to 2 accumulated = 2 updates of 128 samples'
  )


@pytest.mark.parametrize(
  ('sizes', 'words'),
  [
    ({'prompts': 10, 'updates': 4}, 'data.prompts is 10 .* 4 updates .* nearest that they do are 8 and 12'),
    ({'prompts': 10, 'processes': 2, 'shards': 4}, '2 processes × 4 shards of devices .* are 8 and 16'),
    ({'prompts': 3, 'updates': 4}, 'are 4 and 8'),
    ({'prompts': 12, 'most': 5}, 'optimizer.prompts is 5 .* the 12 of an update; the nearest .* are 4 and 6'),
  ],
)
def test_sizes_that_do_not_divide_are_refused_with_the_nearest_that_do(sizes, words):
  with pytest.raises(ConfigError, match=words):
    Geometry(**{'samples': 8} | sizes).check()


@pytest.mark.parametrize('most', [0, 4, 12, 40])
def test_sizes_that_divide_or_are_bounds_pass(most):
  Geometry(12, 8, most=most).check()


def test_exhausted_memory_is_three_lines():
  parts = {'parameters': 3 * 2.0**30, 'moments': 6 * 2.0**30, 'reference': 0}
  buffers = [(f'float32[{i}]', i, i * 2**30) for i in range(1, 9)]
  keys = [memory.Key('optimizer.prompts', 1, 2), memory.Key('policy.remat', 'full', 'none')]
  lines = memory.exhausted('wants 9 GiB', parts, buffers, keys).splitlines()
  assert lines[0] == 'Out of memory (wants 9 GiB); the run wants moments 6.00 GiB, parameters 3.00 GiB.'
  assert lines[1].count('float32') == 5 and lines[1].startswith(
    'Largest buffers now: 8 × float32[8] 8.00 GiB'
  )
  assert lines[2] == (
    'Ask for less with --config.optimizer.prompts=1 (it is 2) or --config.policy.remat=full (it is none).'
  )
  assert len(lines) == 3 and 'in all' in memory.budget(parts).splitlines()[-1]


@pytest.mark.parametrize('finished', [True, False])
def test_an_ending_has_folder_report_and_commands_to_paste(finished):
  command = ['python', '-m', 'llmi_jax.main', '--config=configs/x.py', '--config.tools.names=("search",)']
  text = ending.ending(RUN, RUN / 'report.html', command, finished)
  rows = dict(line.split(':', 1) for line in text.splitlines())
  assert rows['Run'].strip() == 'runs/a b' and rows['Report'].strip() == 'runs/a b/report.html'
  assert rows['View'].strip() == "python -m llmi_jax.view 'runs/a b'"
  wanted = 'nothing' if finished else "python -m llmi_jax.main --config=configs/x.py '--config.tools.names"
  assert rows['Resume'].strip().startswith(wanted)
  assert {'Serve', 'Export', 'Answer', 'Log'} <= rows.keys()
  assert 'not written' in ending.ending(RUN, None, command, finished)


def test_a_start_notes_code_and_versions(tmp_path):
  found = json.loads(json.dumps(start.note(['python'], ['cpu', 'cpu'], (0, 1))))
  assert found['versions']['jax'] and found['devices'] == {'cpu': 2}
  assert start.git(tmp_path) is None
