"""The index says what the rollouts say; filters and orders agree with a plain loop over them."""

import math
import shutil
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.data import rollouts
from llmi_jax.view import query
from llmi_jax.view.index import Index, runs


@pytest.fixture(scope='module')
def index(two):
  return Index(runs(two))


@pytest.fixture(scope='module')
def everything(two):
  """Every rollout under its viewer's address and kind."""
  found = {}
  for folder in two:
    for kind in ('train', 'eval'):
      for rollout in rollouts.read(folder / 'rollouts' / kind):
        found[f'{folder.name}/{rollout.id}', kind] = rollout
  return found


def listed(index, **fields):
  asked = query.read(fields.items(), index)
  return [(f'{a["run"]}/{a["id"]}', a['kind']) for a in map(index.about, query.rows(asked, index).tolist())]


def test_rows_agree_with_what_they_are_of(index, everything):
  assert index.table.num_rows == len(everything)
  for row in range(index.table.num_rows):
    about = index.about(row)
    rollout = everything[f'{about["run"]}/{about["id"]}', about['kind']]
    assert (about['reward'], about['advantage']) == (rollout.reward, rollout.advantage)
    assert about['length'] == rollout.tokens.size
    assert about['calls'] == sum(p.result is not None for p in rollout.answer)
    assert about['errors'] == sum(p.kind == 'gap' for p in rollout.answer)
    shown = [p.picture.sha256 for p in rollout.answer if p.kind == 'picture']
    assert about['pictures'] == len(shown) and about['picture'] == (shown or [''])[0]
    assert about['tools'].split() == [p.tool for p in rollout.answer if p.tool]
    assert {p.name: p.value for p in rollout.parts} == {n: about[f'reward_{n}'] for n in index.parts}


def has(rollout, word):
  return word in '\n'.join((rollout.id, rollout.question, rollout.completion)).lower()


@pytest.mark.parametrize(
  ('fields', 'keep'),
  [
    ({}, lambda r, k: True),
    ({'kind': 'eval'}, lambda r, k: k == 'eval'),
    ({'q': 'June PEAKS'}, lambda r, k: has(r, 'june') and has(r, 'peaks')),
    ({'q': 'no such words'}, lambda r, k: False),
    ({'tool': 'code'}, lambda r, k: any(p.tool == 'code' for p in r.answer)),
    ({'errors': 'yes'}, lambda r, k: any(p.kind == 'gap' for p in r.answer)),
    ({'errors': 'no', 'kind': 'train'}, lambda r, k: k == 'train' and all(p.kind != 'gap' for p in r.answer)),
    ({'unscorable': 'yes'}, lambda r, k: r.reward is None),
    ({'truncated': 'yes'}, lambda r, k: r.finish == 'length'),
    ({'min.reward': '0.5', 'max.advantage': '0'}, lambda r, k: (r.reward or 0) >= 0.5 and r.advantage <= 0),
    (
      {'min.reward_mllm': '0.8'},
      lambda r, k: any(p.name == 'mllm' and (p.value or 0) >= 0.8 for p in r.parts),
    ),
    ({'max.length': '40'}, lambda r, k: r.tokens.size <= 40),
  ],
)
def test_filters_keep_what_a_loop_keeps(index, everything, fields, keep):
  assert sorted(listed(index, **fields)) == sorted(key for key, r in everything.items() if keep(r, key[1]))


def test_one_run_can_be_shown_alone(index, everything):
  assert {name.split('/')[0] for name, _ in listed(index, run='egrets')} == {'egrets'}


@pytest.mark.parametrize('sort', ['reward', '-reward', '-advantage', 'length', 'reward_llm'])
def test_orders_are_orders_with_those_without_a_value_last(index, everything, sort):
  name = sort.removeprefix('-')
  asked = query.read([('sort', sort)], index)
  values = index.number(name)[query.rows(asked, index)]
  there = values[~np.isnan(values)]
  assert (np.diff(there) >= 0).all() if name == sort else (np.diff(there) <= 0).all()
  assert np.isnan(values[there.size :]).all()


def test_an_address_holds_the_whole_state(index):
  asked = query.Query(
    runs=('egrets',),
    kind='train',
    words='a & b=c',
    tool='code',
    sides=(('errors', False), ('truncated', True)),
    low=(('reward', 0.25),),
    high=(('reward_llm', 1.0),),
    sort='-advantage',
    page=2,
    open='egrets/5/lakes/5/1',
    of='train',
  )
  fields = parse_qsl(urlsplit(asked.address()).query)
  assert query.read(fields, index) == asked
  assert query.Query().address() == '/'


@pytest.mark.parametrize(
  'fields',
  [{'page': '-1'}, {'page': '²'}, {'sort': 'rm -rf'}, {'min.reward': 'nan'}, {'kind': 'x'}, {'run': 'y'}],
)
def test_nonsense_in_an_address_is_left_out(index, fields):
  assert query.read(fields.items(), index) == query.Query()


def test_names_find_rollouts(index, everything):
  for (address, kind), rollout in everything.items():
    found = index.read(index.find(address, kind))
    assert found.completion == rollout.completion and found.address == address
  assert index.find('herons/99/none/0') is None and index.find('') is None


def test_new_steps_come_and_removed_ones_go(two, make, tmp_path):
  folder = tmp_path / 'herons'
  shutil.copytree(two[0], folder)
  index = Index(runs([folder]))
  count, version = index.table.num_rows, index.version
  assert not index.refresh()
  sampled = make.Answering().text('new').sample(make.task('late'), 70)
  rollouts.write(folder, 'train', 71, [sampled], make.weights)
  assert index.refresh() and index.table.num_rows == count + 1 and index.version == version + 1
  assert index.find('herons/70/late/0') is not None
  rollouts.remove_after(folder, 70)
  assert index.refresh() and index.table.num_rows == count


def test_a_run_without_rollouts_yet_is_empty(tmp_path):
  (tmp_path / 'rollouts').mkdir()
  index = Index(runs([tmp_path]))
  assert index.table.num_rows == 0 and query.rows(query.Query(), index).size == 0
  assert query.tools(index) == []


def test_runs_of_one_name_are_told_apart_and_what_is_none_is_named(tmp_path):
  for name in ('a/run', 'b/run'):
    (tmp_path / name / 'rollouts').mkdir(parents=True)
  assert [run.name for run in runs([tmp_path / 'a/run', tmp_path / 'b/run'])] == ['run', 'run-2']
  with pytest.raises(ConfigError, match='nothing has no folder rollouts'):
    runs([tmp_path / 'nothing'])
  with pytest.raises(ConfigError, match='No run is named'):
    runs([])


def test_a_missing_reward_is_nan(index):
  assert any(math.isnan(value) for value in index.number('reward'))
