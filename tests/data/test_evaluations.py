"""Figures of evaluations: kept per step, ranked, removed with the steps that they belong to."""

import math

import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.data import evaluations


def test_figures_are_kept_per_step_ranked_and_removed(tmp_path):
  assert evaluations.read(tmp_path) == {} and evaluations.ranking(tmp_path) == []
  for step, reward in ((0, 0.2), (10, 0.5), (2, 0.5), (4, math.nan)):
    evaluations.write(tmp_path, step, {'reward': reward, 'n_tasks': 3})
  assert list(evaluations.read(tmp_path)) == [0, 2, 4, 10]
  assert evaluations.read(tmp_path)[4] == {'reward': None, 'n_tasks': 3}
  assert evaluations.ranking(tmp_path) == [2, 10, 0]
  evaluations.remove_after(tmp_path, 2)
  assert list(evaluations.read(tmp_path)) == [0, 2]


def test_a_broken_file_is_named(tmp_path):
  evaluations.write(tmp_path, 1, {})
  evaluations.path(tmp_path, 1).write_text('{')
  with pytest.raises(DataError, match=r'step=1\.json is no JSON object'):
    evaluations.read(tmp_path)
