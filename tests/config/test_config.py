"""Configs as data: every key has a meaning, YAML goes there and back, sweeps have stable names."""

import json
import pathlib

import pytest
import yaml

from llmi_jax.config import listing, meaning, plain, source, sweep
from llmi_jax.core.errors import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = str(ROOT / 'configs' / 'grpo_tiny.py')


@pytest.mark.parametrize('file', source.known(), ids=lambda file: file.stem)
def test_every_key_of_every_config_has_a_meaning(file):
  keys = [key for key, _ in plain.flatten(source.read(str(file)))]
  told = meaning.meanings(file, keys)
  assert [key for key in keys if key not in told] == []


@pytest.mark.parametrize('file', source.known(), ids=lambda file: file.stem)
def test_yaml_goes_there_and_back(file, tmp_path):
  config = source.read(str(file))
  text = plain.to_yaml(config)
  (tmp_path / 'same.yaml').write_text(text)
  assert yaml.safe_load(text) == json.loads(config.to_json())
  assert plain.to_yaml(source.read(str(tmp_path / 'same.yaml'))) == text
  assert source.read(str(tmp_path / 'same.yaml')).to_dict() == config.to_dict()


def test_every_config_says_what_it_needs():
  assert len(source.known()) > 3
  for file in source.known():
    lines = listing.configs([file]).splitlines()
    assert lines[0].endswith(file.name) and len(lines) >= 2
    assert 'Hardware: ' in lines[-1] or 'TPU' in lines[1]


def test_a_comment_nearby_wins_over_one_far_away(tmp_path):
  (tmp_path / 'near.py').write_text('config.tokens = 1  # of one judge\nconfig.only = 2  # here\n')
  (tmp_path / 'mine.py').write_text(
    f'from {tmp_path.name} import near\n'
    '# Both of these.\nconfig.a.one = 1\n'
    'config.sampler.tokens = 3  # of a response\n'
    "config.b = {\n  'seconds': 1,  # each\n}\n"
  )
  keys = ('sampler.tokens', 'judge.tokens', 'judge.only', 'a.one', 'b.seconds', 'c')
  assert meaning.meanings(tmp_path / 'mine.py', keys) == {
    'sampler.tokens': 'of a response',
    'judge.tokens': 'of one judge',
    'judge.only': 'here',
    'a.one': 'Both of these.',
    'b.seconds': 'each',
  }


def test_fields_show_type_value_and_meaning():
  text = listing.fields(source.read(TINY), pathlib.Path(TINY))
  assert '--config.loss.ratio=token  (str)\n    token (GRPO), sequence or sequence_token (GSPO)' in text
  assert '--config.reward.remote.llm.votes=1  (int)\n    per answer; the median counts' in text


@pytest.mark.parametrize(
  ('argument', 'words'),
  [
    ('--config.lr=1', 'no key .lr.; .*--help'),
    ('--config.learning_rte=1', 'did you mean config.optimizer.learning_rate'),
    ('--config.optimizer=1', 'a group of 13, such as config.optimizer.'),
    ('--config.steps', 'has no value; write --config.steps=VALUE'),
    ('--config.optimizer.widths=("a",)', 'must be a tuple of int'),
    ('--config.steps=1.5', "'1.5'; it must be an int"),
  ],
)
def test_overrides_that_cannot_be_are_told_with_the_mend(argument, words):
  with pytest.raises(ConfigError, match=words) as caught:
    source.read(TINY, [argument])
  assert '\n' not in str(caught.value)


def test_a_run_is_a_config_and_differences_are_those_of_values(tmp_path):
  old, new = source.read(TINY), source.read(TINY, ['--config.seed=5'])
  (tmp_path / 'config.json').write_text(new.to_json())
  assert plain.changes(old, source.read(str(tmp_path))) == [('seed', 0, 5)]
  rows = listing.table([('seed', 0, 5), ('mesh.new', None, True)], ('a', 'b')).splitlines()
  assert rows == ['key       a  b', 'seed      0  5', 'mesh.new  –  True']


@pytest.mark.parametrize(('name', 'text'), [('a.yaml', 'a: [1'), ('b.json', '[]'), ('c.txt', '')])
def test_files_that_are_no_configs_are_named(tmp_path, name, text):
  (tmp_path / name).write_text(text)
  with pytest.raises(ConfigError, match=name) as caught:
    source.read(str(tmp_path / name))
  assert '\n' not in str(caught.value)


def test_sweeps_are_all_combinations_under_stable_names():
  arms = sweep.arms(['config.loss.ratio=token,sequence', 'config.optimizer.widths=(64,160),(160,)'])
  assert [arm.name for arm in arms] == [
    'loss.ratio=token_optimizer.widths=64-160',
    'loss.ratio=token_optimizer.widths=160',
    'loss.ratio=sequence_optimizer.widths=64-160',
    'loss.ratio=sequence_optimizer.widths=160',
  ]
  assert arms[2].overrides == ('--config.loss.ratio=sequence', '--config.optimizer.widths=(64,160)')
  assert sweep.split('a,"b,c",[1,2],') == ['a', '"b,c"', '[1,2]', '']


@pytest.mark.parametrize('axes', [['steps=1,2'], ['config.steps=1', 'config.steps=2'], ['config.seed=1,1']])
def test_sweeps_that_cannot_be_are_refused(axes):
  with pytest.raises(ConfigError, match='--sweep'):
    sweep.arms(axes)
