"""Runs beside each other: aligned by prompt, told apart from their causes."""

import numpy as np
import pytest

from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data import rollouts
from llmi_jax.view import compare
from llmi_jax.view.index import Index, runs


def write(make, folder, step, rewards, question=None, judge='offline'):
  """An evaluation: one list of rewards per task."""
  rows = []
  for number, samples in enumerate(rewards):
    task = make.task(f't/{number}', question=question if number == 0 else None)
    verdict = Verdict('llm', 'scored', (Score('text', 4),), model=judge, prompt_hash='abc')
    for k, value in enumerate(samples):
      built = make.Answering().text('x')
      rows.append(built.sample(task, step, k, (1.0, 0.5, 0.5), value, (verdict,)))
  rollouts.write(folder, 'eval', step, rows, make.weights)
  (folder / 'config.json').write_text(f'{{"seed": {step}, "reward": {{"gate": "paper"}}}}')
  return folder


@pytest.fixture
def index(make, tmp_path):
  first = write(make, tmp_path / 'a', 4, [[0.5, 0.7], [0.9, None], [0.2, 0.2], [0.4, 0.4]])
  second = write(make, tmp_path / 'b', 6, [[0.4, 0.2], [1.0, 1.0], [0.2, 0.2]], 'Other words?', 'larger')
  return Index(runs([first, second]))


def test_prompts_are_aligned_and_the_greatest_loss_stands_first(index):
  chosen = compare.usual(index)
  assert list(map(str, chosen)) == ['a@4', 'b@6']
  aligned = compare.align(index, chosen, 'reward')
  assert [a.task for a in aligned] == ['t/0', 't/2', 't/1', 't/3']
  assert [a.delta for a in aligned] == [pytest.approx(-0.3), 0, pytest.approx(0.1), None]
  assert aligned[3].values == (pytest.approx(0.4), None)


def test_differences_have_a_paired_interval(index):
  found = {
    name: (means, against) for name, means, against in compare.differences(index, compare.usual(index))
  }
  means, (d,) = found['reward']
  gaps = np.array([-0.3, 0.1, 0.0])
  assert means == [pytest.approx((0.6 + 0.9 + 0.2 + 0.4) / 4), pytest.approx((0.3 + 1.0 + 0.2) / 3)]
  assert d.mean == pytest.approx(gaps.mean()) and (d.n, d.better, d.worse, d.alone) == (3, 1, 1, 1)
  draws = np.random.default_rng(1).choice(gaps, (4000, 3)).mean(1)
  assert (d.low, d.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.03)


def test_what_makes_a_difference_doubtful_is_said(index):
  chosen = compare.usual(index)
  told = '\n'.join(compare.warnings(index, chosen, compare.align(index, chosen, 'reward')))
  assert '1 of 4 prompts are not on every side, such as t/3.' in told
  assert 'seed is 4 and 6' in told
  assert 'llm (offline, prompt abc)' in told and 'llm (larger, prompt abc)' in told


def test_prompts_that_read_otherwise_are_said(make, tmp_path):
  folder = write(make, tmp_path / 'a', 0, [[0.5]])
  import dataclasses

  sampled = make.Answering().text('x').sample(make.task('t/0'), 9)
  turn = sampled.turns[0]
  other = dataclasses.replace(turn, prompt=dataclasses.replace(turn.prompt, text='Another prompt.'))
  rollouts.write(folder, 'eval', 9, [dataclasses.replace(sampled, turns=(other,))], make.weights)
  index = Index(runs([folder]))
  chosen = compare.usual(index)
  assert list(map(str, chosen)) == ['a@0', 'a@9']  # one run: before and after
  told = compare.warnings(index, chosen, compare.align(index, chosen, 'reward'))
  assert '1 prompts read otherwise on a@9 than on a@0, such as t/0.' in told


def test_sides_are_read_from_addresses(index):
  for side in compare.sides(index):
    assert compare.parse(str(side), index) == side
  assert compare.parse('a@5', index) is None and compare.parse('nonsense', index) is None


def test_failures_are_better_when_fewer(make, tmp_path):
  assert [compare.better(f) for f in ('reward', 'reward_llm', 'errors', 'length')] == [1, 1, -1, 0]
  for step, lost in ((0, (0, 2)), (5, (1, 0))):
    rows = []
    for number, count in enumerate(lost):
      built = make.Answering().text('x')
      for _ in range(count):
        built.lost('code')
      rows.append(built.sample(make.task(f't/{number}'), step))
    rollouts.write(tmp_path / 'run', 'eval', step, rows, make.weights)
  index = Index(runs([tmp_path / 'run']))
  assert [a.task for a in compare.align(index, compare.usual(index), 'errors')] == ['t/0', 't/1']


def test_the_telling_sample_is_the_one_with_the_greatest_gap(index):
  chosen = compare.usual(index)
  aligned = {a.task: a for a in compare.align(index, chosen, 'reward')}
  assert compare.telling(index, aligned['t/0'], 'reward') == 1  # 0.7 → 0.2, not 0.5 → 0.4
  assert compare.telling(index, aligned['t/3'], 'reward') == 0
