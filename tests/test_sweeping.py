"""Sweeps list their commands, go on after a failure and compare what they made."""

import json
import pathlib
import shlex
import sys

import pytest

from llmi_jax import front, sweeping
from llmi_jax.core.errors import ConfigError

TINY = str(pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'grpo_tiny.py')
AXES = ['config.loss.ratio=token,sequence', 'config.seed=0,1']


@pytest.fixture
def line(monkeypatch):
  """The command line of a sweep."""
  argv = ['main', f'--config={TINY}', '--config.steps=3', '--workdir=W', '--dry_run', f'--sweep={AXES[0]}']
  monkeypatch.setattr(sys, 'argv', argv)
  monkeypatch.setattr(front, 'CONFIG', type('Flag', (), {'value': TINY}))


def test_a_dry_run_lists_the_commands_and_runs_nothing(line, capsys, monkeypatch):
  monkeypatch.setattr(sweeping, '_one', lambda command: pytest.fail('it ran'))
  assert sweeping.run(AXES, pathlib.Path('runs/s'), True) == 0
  commands = [shlex.split(text) for text in capsys.readouterr().out.splitlines()]
  assert len(commands) == 4
  assert commands[2] == [
    *('python', '-m', 'llmi_jax.main', f'--config={TINY}', '--config.steps=3'),
    *('--config.loss.ratio=sequence', '--config.seed=0', '--workdir=runs/s/loss.ratio=sequence_seed=0'),
  ]


def test_a_failing_run_does_not_stop_the_rest(line, capsys, monkeypatch, tmp_path):
  ran = []

  def one(command):
    folder = pathlib.Path(command[-1].removeprefix('--workdir='))
    ran.append(folder.name)
    if 'seed=0' in folder.name:
      return 2
    folder.mkdir(parents=True)
    summary = {'eval_before': {'reward': 0.5}, 'eval_after': {'reward': 0.6 + len(ran) / 10}}
    (folder / 'summary.json').write_text(json.dumps(summary))
    (folder / 'metrics.jsonl').write_text('{"step": 3}\n')
    return 0

  monkeypatch.setattr(sweeping, '_one', one)
  assert sweeping.run(AXES, tmp_path, False) == front.FAILED
  table = capsys.readouterr().out.splitlines()
  assert len(ran) == 4 and len(table) == 6
  assert table[1].split() == ['loss.ratio=sequence_seed=1', '0.500', '1.000', '3', 'ok']
  assert table[2].split() == ['loss.ratio=token_seed=1', '0.500', '0.800', '3', 'ok']
  assert table[3].endswith('exit 2')
  assert table[-1].startswith('Compare: python -m llmi_jax.view ') and table[-1].count(str(tmp_path)) == 4


def test_who_is_stopped_starts_no_further_run(line, capsys, monkeypatch, tmp_path):
  monkeypatch.setattr(sweeping, '_one', lambda command: front.INTERRUPTED)
  assert sweeping.run(AXES, tmp_path, False) == front.INTERRUPTED
  assert capsys.readouterr().out.count('not run') == 3


def test_a_value_that_cannot_be_is_told_before_anything_runs(line):
  with pytest.raises(ConfigError, match=r"config.seed is 'x'"):
    sweeping.run(['config.seed=0,x'], pathlib.Path('s'), True)
