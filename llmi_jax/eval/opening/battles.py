"""The arena's rules: which pairs meet, what a judge's words mean, and the four win rates.

Formulas as in `sampling_battles_pairs.py`, `GPT_judge_AB.py`, `IntJudge_judge_AB.py` and
`calculate_model_winrate.py` at github.com/LanceZPF/OpenING, 56b663b. No rating is fitted.
"""

import collections
import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmi_jax.eval.record import Mode

TIE = 'Tie'  # without a lean: only `fixed` knows it, where two orders disagree
RATES = ('FDT', 'w/o Tie', 'w/ Tie (0)', 'w/ Tie (.5)')


@dataclasses.dataclass(frozen=True)
class System:
  """A system that takes part; results files have both."""

  id: str
  name: str

  @classmethod
  def of(cls, row: Mapping[str, Any]) -> 'System':
    return cls(str(row['id']), str(row['name']))

  @property
  def row(self) -> dict[str, str]:
    return {'id': self.id, 'name': self.name}


@dataclasses.dataclass(frozen=True)
class Battle:
  """Two systems' answers to one record.

  Attributes:
    uid: of the record.
    first: shown as A.
    second: shown as B.
  """

  uid: str
  first: System
  second: System

  @property
  def key(self) -> tuple[str, str, str]:
    return self.uid, self.first.id, self.second.id

  @property
  def id(self) -> str:
    return ' '.join(self.key)

  @property
  def row(self) -> dict[str, Any]:
    return {'data_id': self.uid, 'model_A': self.first.row, 'model_B': self.second.row}


def sample(
  uids: Mapping[str, Sequence[str]], systems: Sequence[System], rounds: int = 2, seed: int = 0
) -> list[Battle]:
  """Draws pairs: in the first round each subtask's records go round a shuffled ring of systems, so that all
  meet; each further round gives every pair so far another one of systems that were not in it.

  Args:
    uids: subtask → records.
    systems: at least two; at least four where there are further rounds.
    rounds: battles double with each after the first, as the reference's do.
    seed: of the draws.
  """
  draws = random.Random(seed)
  ring = list(systems)
  battles: list[Battle] = []
  for members in uids.values():
    draws.shuffle(ring)
    start = draws.randrange(len(ring))
    for number, uid in enumerate(members, start):
      place = number % len(ring)
      battles.append(Battle(uid, ring[place], ring[(place + 1) % len(ring)]))
  for _ in range(rounds - 1):
    met = {(b.uid, frozenset((b.first.id, b.second.id))) for b in battles}
    further = []
    for battle in battles:
      rest = [s for s in systems if s not in (battle.first, battle.second)]
      pairs = [(a, b) for a in rest for b in rest if a != b]
      fresh = [(a, b) for a, b in pairs if (battle.uid, frozenset((a.id, b.id))) not in met]
      if fresh:
        further.append(Battle(battle.uid, *draws.choice(fresh)))
    battles += further
  return battles


def winner(text: str, coin: str) -> str:
  """What a judge's words mean to the reference, for GPT and IntJudge alike.

  The first letter decides: "Both are good" is B, and " A is better" with a blank before it is a tie that
  leans to A. "Tie (A is better)" becomes the malformed `Tie ()`, which is a match that nobody wins.

  Args:
    text: the reply, not empty.
    coin: `A` or `B`, for words without any of these letters; the reference tosses one.
  """
  if text[0] in 'AB':
    return text[0]
  if text[:3].lower() == 'tie':
    return text[:5] + ')'
  return f'{TIE}({next((letter for letter in text if letter in "AB"), coin)})'


def settled(there: str, back: str) -> str:
  """The winner where both orders were asked, the second with the places swapped.

  Both must name the same side, and both as a win or both as a tie; else it is a tie without a lean, as a
  place is no merit.
  """
  swapped = {'A': 'B', 'B': 'A', 'Tie(A)': 'Tie(B)', 'Tie(B)': 'Tie(A)'}.get(back, back)
  return there if there == swapped else TIE


def distinct(results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """One result per record and pair of ids: the place of the first, the words of the last."""
  kept: dict[tuple[str, str, str], Mapping[str, Any]] = {}
  for row in results:
    kept[str(row['data_id']), str(row['model_A']['id']), str(row['model_B']['id'])] = row
  return list(kept.values())


def absentees(
  pairs: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]], absent: Mapping[str, set[str]]
) -> list[dict[str, Any]]:
  """Results for sampled pairs that were not judged because one side has no output: it loses outright.

  Every published table has it, though the shipped script does not do it. A pair with no output on either side
  has no result.

  Args:
    pairs: as sampled.
    results: of those that were judged.
    absent: name of a system → records that it has no output for.
  """
  done = {(row['data_id'], row['model_A']['id'], row['model_B']['id']) for row in results}
  found = []
  for pair in pairs:
    first, second = pair['model_A'], pair['model_B']
    if (pair['data_id'], first['id'], second['id']) in done:
      continue
    gone = [pair['data_id'] in absent.get(side['name'], ()) for side in (first, second)]
    if gone[0] != gone[1]:
      found.append({**pair, 'winner': 'B' if gone[0] else 'A'})
  return found


@dataclasses.dataclass
class Points:
  """One system's battles, each as (points, whether it counts), by rate."""

  points: dict[str, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
  counted: dict[str, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))


def points(results: Iterable[Mapping[str, Any]], mode: Mode) -> dict[str, Points]:
  """System → its points; systems are known by name.

  Args:
    results: with `winner`.
    mode: `repo` gives a tie without a lean to nobody; `fixed` halves it in FDT.
  """
  found: dict[str, Points] = collections.defaultdict(Points)
  for row in results:
    for side in ('A', 'B'):
      mine = found[row[f'model_{side}']['name']]
      for rate, (point, counts) in _rated(row['winner'], side, mode).items():
        mine.points[rate].append(point)
        mine.counted[rate].append(counts)
  return found


def _rated(won: str, side: str, mode: Mode) -> dict[str, tuple[float, float]]:
  clear, tie = won in ('A', 'B'), TIE in won
  win = float(won == side)
  leaning = 0.5 if mode == 'fixed' and won == TIE else float(won in (side, f'{TIE}({side})'))
  return {
    'FDT': (leaning, 1.0),
    'w/o Tie': (win, float(clear)),
    'w/ Tie (0)': (win, 1.0),
    'w/ Tie (.5)': (win + 0.5 * tie, 1.0),
  }


def rates(results: Iterable[Mapping[str, Any]], mode: Mode = 'repo') -> dict[str, dict[str, float]]:
  """System → rate → share of points, in [0, 1]."""
  return {
    name: {
      rate: sum(mine.points[rate]) / sum(mine.counted[rate]) if sum(mine.counted[rate]) else 0.0
      for rate in RATES
    }
    for name, mine in points(results, mode).items()
  }


def matrix(results: Iterable[Mapping[str, Any]], rate: str, mode: Mode) -> dict[str, dict[str, float | None]]:
  """Row beats column: a share, or None where they never met.

  In `repo`, pairs of `w/o Tie` are divided by all their battles, ties included, as the reference's file has
  it.
  """
  won: dict[tuple[str, str], float] = collections.defaultdict(float)
  met: dict[tuple[str, str], float] = collections.defaultdict(float)
  names: dict[str, None] = {}
  for row in results:
    first, second = row['model_A']['name'], row['model_B']['name']
    names |= {first: None, second: None}
    for side, pair in (('A', (first, second)), ('B', (second, first))):
      point, counts = _rated(row['winner'], side, mode)[rate]
      won[pair] += point
      met[pair] += 1.0 if mode == 'repo' else counts
  return {a: {b: won[a, b] / met[a, b] if met[a, b] else None for b in names} for a in names}
