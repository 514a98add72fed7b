"""Intervals against second implementations."""

import numpy as np
import pytest
from scipy import stats

from llmi_jax.eval import numbers


def test_a_plain_mean_has_the_interval_that_scipy_has():
  values = np.random.default_rng(1).normal(5, 2, 200)
  found = numbers.ratio([list(values)], resamples=8000)
  theirs = stats.bootstrap((values,), np.mean, method='percentile', n_resamples=8000, random_state=0)
  assert found.value == pytest.approx(values.mean()) and found.n == 200
  assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
  assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_a_ratio_is_resampled_item_by_item():
  draws = np.random.default_rng(2)
  below = draws.integers(1, 9, 300).astype(float)
  above = below * draws.uniform(0, 1, 300)
  found = numbers.ratio([list(above)], [list(below)], resamples=4000)
  theirs = stats.bootstrap(
    (above, below),
    lambda a, b: a.sum() / b.sum(),
    paired=True,
    vectorized=False,
    method='percentile',
    n_resamples=2000,
    random_state=0,
  )
  assert found.value == pytest.approx(above.sum() / below.sum())
  assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)


def test_a_mean_of_means_weighs_strata_alike_and_leaves_empty_ones_out():
  found = numbers.ratio([[1.0] * 100, [3.0], []])
  assert (found.value, found.low, found.high, found.n) == (2.0, 2.0, 2.0, 101)


def test_nothing_has_no_mean():
  assert numbers.ratio([[]]).value is None
  assert numbers.ratio([[0.0, 0.0]], [[0.0, 0.0]]).value is None


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
  draws = np.random.default_rng(3)
  hits = 0
  for seed in range(200):
    found = numbers.ratio([list(draws.normal(0, 1, 60))], resamples=300, seed=seed)
    hits += found.low <= 0 <= found.high
  assert 0.90 <= hits / 200 <= 0.98


def test_pairs_are_of_one_item_each():
  first = {'a': 1.0, 'b': 2.0, 'c': 3.0, 'only': 9.0}
  second = {'a': 2.0, 'b': 3.0, 'c': 2.5}
  found = numbers.paired('x', first, second)
  assert found.mean == pytest.approx(0.5)
  assert (found.n, found.better, found.worse, found.alone) == (3, 2, 1, 1)


def test_pairing_is_sharper_than_two_intervals():
  draws = np.random.default_rng(4)
  base = draws.normal(5, 3, 100)
  first = {str(i): v for i, v in enumerate(base)}
  second = {str(i): v + 0.3 for i, v in enumerate(base)}
  found = numbers.paired('x', first, second)
  assert found.low == pytest.approx(0.3) and found.high == pytest.approx(0.3)
