"""Lines suit where they go: plain off a terminal, a status on one, and others' noise in the log."""

import io
import logging
import os
import subprocess
import sys

import pytest

from llmi_jax.terminal import transfer
from llmi_jax.terminal.progress import Progress
from llmi_jax.terminal.screen import Handler, Screen
from tests.terminal.steps import SCALARS


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def terminal(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '170')
  monkeypatch.delenv('NO_COLOR', raising=False)
  return Terminal()


def test_off_a_terminal_there_are_plain_lines():
  stream = io.StringIO()
  with Screen(stream) as screen:
    progress = Progress(screen, 3, every=0)
    for step in (1, 2, 3):
      screen.status('somewhere')
      progress.update(step, SCALARS)
    screen.warn('odd')
  lines = stream.getvalue().splitlines()
  assert [line.split()[0] for line in lines] == ['Columns:', 'step', 'step', 'step', 'Warning:']
  assert '\x1b' not in stream.getvalue() and '\r' not in stream.getvalue()


def test_plain_lines_are_rare_but_the_first_and_last_are_there():
  stream = io.StringIO()
  with Screen(stream) as screen:
    progress = Progress(screen, 100, 90, every=60)
    for step in range(91, 101):
      progress.update(step, SCALARS)
  steps = [line.split()[1] for line in stream.getvalue().splitlines() if line.startswith('step')]
  assert steps == ['91/100', '100/100']


@pytest.mark.parametrize('colour', [True, False])
def test_on_a_terminal_a_status_stands_below_the_lines(terminal, monkeypatch, colour):
  if not colour:
    monkeypatch.setenv('NO_COLOR', '1')
  with Screen(terminal) as screen:
    screen.status('step 1/2: sampling')
    screen.warn('low [bold]')
    screen.say('saved [bold]')
  shown = terminal.getvalue()
  assert 'saved [bold]' in shown and 'low [bold]' in shown
  assert ('\x1b[33m' in shown) == colour  # the warning's yellow


def test_processes_behind_the_first_say_nothing(caplog):
  stream = io.StringIO()
  with caplog.at_level(logging.INFO), Screen(stream, process=1) as screen:
    screen.say('one')
    screen.warn('two')
  assert stream.getvalue() == '' and caplog.messages == ['one', 'Warning: two']


def test_what_the_package_logs_is_said():
  stream = io.StringIO()
  handler = Handler(Screen(stream))
  for level, text in ((logging.INFO, 'tier'), (logging.WARNING, 'odd')):
    handler.emit(logging.LogRecord('llmi_jax.x', level, '', 0, text, None, None))
  assert stream.getvalue() == 'tier\nWarning: odd\n'


SCRIPT = """
import logging, os, pathlib, sys, warnings
from llmi_jax.terminal.diversion import diverted
from llmi_jax.core.errors import ConfigError

folder, how = pathlib.Path(sys.argv[1]), sys.argv[2]
with diverted() as diversion:
  print('noise of Python', file=sys.stderr)
  os.write(2, b'noise of a library\\n')
  if how == 'settle':
    diversion.settle(folder)
  logging.getLogger('other').warning('noise of logging')
  warnings.warn('noise of warnings')
  print('for people', file=diversion.stream)
  if how == 'crash':
    raise RuntimeError('a bug')
  if how == 'mistake':
    raise ConfigError('a mistake')
print('after', file=sys.stderr)
"""


@pytest.mark.parametrize('how', ['settle', 'crash', 'mistake'])
def test_noise_goes_to_the_log_and_comes_back_only_with_a_crash(tmp_path, how):
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(tmp_path), how], capture_output=True, text=True, check=False
  )
  lines = done.stderr.splitlines()
  noise = [line for line in lines if 'noise' in line and 'RuntimeError' not in line]
  assert lines[0] == 'for people' and os.listdir(tmp_path) == (['logs'] if how == 'settle' else [])
  if how == 'crash':
    assert len([line for line in noise if line.startswith('noise')]) == 2 and 'a bug' in lines[-1]
  else:
    assert noise == []
  if how == 'settle':
    log = (tmp_path / 'logs' / 'process=0.log').read_text()
    for what in ('Python', 'a library', 'logging', 'warnings'):
      assert f'noise of {what}' in log
    assert lines == ['for people', 'after']


def test_a_transfer_is_a_bar_on_terminals_and_few_lines_elsewhere(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  for stream, every, wanted in (
    (Terminal(), 5.0, '2.0/2.0 GB'),
    (io.StringIO(), 0.0, 'Loading it: 1.0 GB of 2.0 GB'),
    (io.StringIO(), 3600.0, ''),
  ):
    with transfer.Transfer('Loading it', stream, every) as tell:
      tell(1_000_000_000, 2_000_000_000)
      tell(2_000_000_000, 2_000_000_000)
    assert wanted in stream.getvalue() and bool(stream.getvalue()) == bool(wanted)
