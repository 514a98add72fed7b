"""Configs: overrides keep types, mistakes are one sentence."""

import json
import pathlib

import pytest

from llmi_jax import front
from llmi_jax.core.errors import ConfigError

CONFIG = str(pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'grpo_tiny.py')


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
