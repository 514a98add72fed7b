"""Means with intervals: the bootstrap over items, within strata."""

import dataclasses
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 1 << 17  # draws at once: a bound on memory


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A figure with its 95 % interval; None where there is nothing to take a mean of."""

  value: float | None
  low: float | None = None
  high: float | None = None
  n: int = 0  # items that count


def ratio(
  numerators: Sequence[Sequence[float]],
  denominators: Sequence[Sequence[float]] | None = None,
  *,
  seed: int = 0,
  resamples: int = RESAMPLES,
) -> Estimate:
  """The mean over strata of Σ numerators / Σ denominators, with a percentile bootstrap interval.

  A plain mean is one stratum without denominators; a mean of category means has a stratum per category. Items
  are drawn with replacement within their stratum. Empty strata, and those whose denominators sum to 0, are
  left out.

  Args:
    numerators: one sequence per stratum, one number per item.
    denominators: likewise; None for ones.
    seed: of the draws.
    resamples: how many.
  """
  tops = [np.asarray(x, float) for x in numerators]
  bottoms = (
    [np.ones(len(x)) for x in tops] if denominators is None else [np.asarray(x, float) for x in denominators]
  )
  strata = [(top, bottom) for top, bottom in zip(tops, bottoms, strict=True) if bottom.sum() > 0]
  if not strata:
    return Estimate(None)
  value = float(np.mean([top.sum() / bottom.sum() for top, bottom in strata]))
  draws = np.random.default_rng(seed)
  drawn = np.mean([_resampled(top, bottom, draws, resamples) for top, bottom in strata], axis=0)
  low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
  return Estimate(value, float(low), float(high), int(sum(np.count_nonzero(bottom) for _, bottom in strata)))


def _resampled(top: np.ndarray, bottom: np.ndarray, draws: np.random.Generator, resamples: int) -> np.ndarray:
  """[resamples] ratios; a draw whose denominators sum to 0 gives the whole stratum's ratio."""
  found = np.empty(resamples)
  step = max(1, _CHUNK // len(top))
  for start in range(0, resamples, step):
    rows = draws.integers(0, len(top), (min(step, resamples - start), len(top)))
    above, below = top[rows].sum(1), bottom[rows].sum(1)
    whole = top.sum() / bottom.sum()
    found[start : start + step] = np.divide(above, below, out=np.full(len(rows), whole), where=below > 0)
  return found


@dataclasses.dataclass(frozen=True)
class Difference:
  """Two runs on the same items.

  Attributes:
    name: of the figure.
    mean: of second − first.
    low: end of its 95 % interval.
    high: the other end.
    n: items that both have.
    better: items where the second is higher.
    worse: where it is lower.
    alone: items that only one of them has.
  """

  name: str
  mean: float | None
  low: float | None
  high: float | None
  n: int
  better: int
  worse: int
  alone: int


def paired(name: str, first: dict[str, float], second: dict[str, float], seed: int = 0) -> Difference:
  """The difference of two runs, item by item."""
  both = sorted(first.keys() & second.keys())
  gaps = [second[key] - first[key] for key in both]
  found = ratio([gaps], seed=seed)
  alone = len(first.keys() ^ second.keys())
  better, worse = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
  return Difference(name, found.value, found.low, found.high, len(both), better, worse, alone)
