"""Configs: overrides keep types, mistakes are one sentence."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from llmi_jax import front
from llmi_jax.core.errors import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / 'configs' / 'grpo_tiny.py')


def test_overrides_keep_types():
  config = front.read(
    CONFIG,
    [
      '--config.steps=7',
      '--config.optimizer.learning_rate=1',
      '--config.loss.ratio=sequence',
      '--config.tools.names=("search",)',
      '--config.policy.unroll=false',
    ],
  )
  assert config.steps == 7 and config.optimizer.learning_rate == 1.0
  assert config.loss.ratio == 'sequence' and config.tools.names == ('search',)
  assert config.policy.unroll is False


@pytest.mark.parametrize(
  ('path', 'overrides', 'words'),
  [
    (
      CONFIG,
      ['--config.optimizer.learning_rat=1'],
      "no key 'optimizer.learning_rat'; did you mean config.optimizer",
    ),
    (CONFIG, ['--config.steps=many'], "config.steps is 'many'; it must be an int, such as"),
    (CONFIG, ['--config.steps=[1, 2]'], 'it must be an int'),
    (CONFIG, ['--config.data=1'], "no key 'data'"),
    (CONFIG.replace('tiny', 'tny'), [], 'does not exist; did you mean .*grpo_tiny.py'),
    (None, [], 'No config was named'),
  ],
)
def test_mistakes_are_one_sentence(path, overrides, words):
  with pytest.raises(ConfigError, match=words) as caught:
    front.read(path, overrides)
  assert '\n' not in str(caught.value)


def test_a_config_file_that_fails_is_named(tmp_path):
  (tmp_path / 'bad.py').write_text('def get_config(arg=None): return {}')
  with pytest.raises(ConfigError, match='returns a dict'):
    front.read(str(tmp_path / 'bad.py'))
  (tmp_path / 'worse.py').write_text('import nothing_of_this_name')
  with pytest.raises(ConfigError, match='cannot be read'):
    front.read(str(tmp_path / 'worse.py'))


def test_difference_names_keys_and_values():
  one = front.read(CONFIG)
  two = front.read(CONFIG, ['--config.seed=5'])
  assert front.difference(two, one.to_json()) == ['seed was 0 and is 5']
  assert json.loads(one.to_json())['seed'] == 0 and front.difference(one, one.to_json()) == []


def printed(*arguments):
  """Exit code, standard output and error of a command that must not touch a device."""
  done = subprocess.run(
    [sys.executable, '-m', 'llmi_jax.main', *arguments],
    cwd=ROOT,
    env=os.environ | {'JAX_PLATFORMS': 'none_such'},
    capture_output=True,
    text=True,
    check=False,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_without_a_config_those_that_there_are_are_listed():
  code, out, errors = printed()
  assert code == 2 and out == '' and 'configs/grpo_tiny.py' in errors and 'Hardware: ' in errors
  assert 'GRPO on the built-in tasks' in errors and 'configs/judges.py' not in errors


@pytest.mark.slow
def test_help_beside_a_config_lists_its_keys():
  code, out, _ = printed(f'--config={CONFIG}', '--help', '--config.steps=7')
  assert code == 0 and '--config.steps=7  (int)\n    updates' in out


@pytest.mark.slow
def test_a_printed_config_is_one(tmp_path):
  code, out, _ = printed(f'--config={CONFIG}', '--config.steps=7', '--print_config')
  (tmp_path / 'mine.yaml').write_text(out)
  assert code == 0 and front.read(str(tmp_path / 'mine.yaml')).steps == 7
  code, out, _ = printed(f'--diff_config={CONFIG},{tmp_path / "mine.yaml"}')
  assert code == 0 and out.splitlines()[1].split() == ['steps', '120', '7']


@pytest.mark.slow
@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['--confg=x'], "Unknown command line flag 'confg'. Did you mean: config ?"),
    ([f'--config={CONFIG}', '--config.steps', '7'], '--config.steps has no value'),
    ([f'--config={CONFIG}', 'steps=7'], "'steps=7' is no flag"),
    (
      [f'--config={CONFIG}', "--config.sinks.names=('wandb_',)"],
      'known are tensorboard, trace, wandb, trackio',
    ),
  ],
)
def test_command_lines_that_cannot_be_are_one_line(arguments, words):
  code, out, errors = printed(*arguments)
  assert code == 2 and out == '' and words in errors and errors.count('\n') == 1
