"""A score as a list of checks, each with its share and what it found, so that a reader can recount it."""

import dataclasses
from collections.abc import Sequence

from llmi_jax.core.verdict import Score


@dataclasses.dataclass(frozen=True)
class Check:
  """One thing that was looked at.

  Attributes:
    name: a few words.
    share: of the score; the shares of one score add up to 1.
    value: in [0, 1].
    found: what was found, for people.
  """

  name: str
  share: float
  value: float
  found: str = ''

  def __str__(self) -> str:
    detail = f' ({self.found})' if self.found else ''
    return f'{self.name} {4 * self.share * self.value:.2f} of {4 * self.share:.2f}{detail}'


def score(name: str, checks: Sequence[Check], *, scale: float = 1.0, why: str = '') -> Score:
  """1 plus the points of all checks; all of them right make 5.

  Args:
    name: of the score.
    checks: what was looked at.
    scale: what the points count, in [0, 1].
    why: the reason where `scale` is not 1.
  """
  points = scale * sum(check.share * min(1.0, max(0.0, check.value)) for check in checks)
  value = min(5.0, max(1.0, round(1 + 4 * points, 4)))
  scaled = (f'all × {scale:g} ({why})',) if why else ()
  return Score(name, value, note='; '.join((*map(str, checks), *scaled)))


def flat(name: str, value: float, why: str) -> Score:
  """A score that one fact decides."""
  return Score(name, value, note=why)
