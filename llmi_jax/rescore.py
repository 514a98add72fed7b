"""Recomputes the rewards of stored rollouts under another reward; no judge is asked.

    python -m llmi_jax.rescore --rollouts=RUN --config=configs/grpo_tiny.py --config.reward.preset=released

RUN is a work folder, its `rollouts/train`, or one parquet file. The new reward is `config.reward`. Prints a
table per step, every group whose ranking changes, and the audit. Nothing is written.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from absl import flags

from llmi_jax import front, rewarding, wiring
from llmi_jax.core.errors import DataError
from llmi_jax.core.reward import RewardParts
from llmi_jax.core.task import ImageRule
from llmi_jax.data import rollouts
from llmi_jax.data.rollout import Rollout
from llmi_jax.rewards import audit, hygiene, parts
from llmi_jax.rewards.facts import Facts
from llmi_jax.rewards.presets import Preset
from llmi_jax.rollout import watch

ROLLOUTS = flags.DEFINE_string(
  'rollouts', None, 'Work folder, folder of rollouts or parquet file.', required=True
)
SPLIT = flags.DEFINE_enum('split', 'train', ['train', 'eval'], 'Which rollouts of a work folder.')
GROUPS = flags.DEFINE_integer('groups', 50, 'Most groups to print; those that change most come first.')
_PARTS = ('rule', 'llm', 'mllm')
_CLOSE = 1e-6


@dataclasses.dataclass(frozen=True)
class Change:
  """One sample under two rewards.

  Attributes:
    rollout: as stored.
    parts: as recomputed.
    reward: the new one; None where unscorable.
  """

  rollout: Rollout
  parts: RewardParts
  reward: float | None


@dataclasses.dataclass(frozen=True)
class Group:
  """The samples of one task in one step.

  Attributes:
    name: `step/task`.
    old: sample numbers, best first, as ranked by the stored rewards; equal ones in order of number.
    new: likewise by the new rewards.
    tau: Kendall's rank correlation of the two, over pairs that either reward tells apart; None where there
      is none.
  """

  name: str
  old: tuple[int, ...]
  new: tuple[int, ...]
  tau: float | None


def main(config: wiring.Config) -> None:
  """Reads, recomputes and prints."""
  chosen = rewarding.reward(config.reward)
  changes = list(recompute(rollouts.read(folder(ROLLOUTS.value)), chosen))
  if not changes:
    raise DataError(f'{ROLLOUTS.value} holds no rollouts; give the work folder of a run.')
  print('\n'.join(table(changes)))
  print()
  print('\n'.join(rankings(groups(changes), GROUPS.value)))
  print()
  print('\n'.join(signs(changes)))


def folder(path: str) -> pathlib.Path:
  """Where the rollouts are: below a work folder, or the path itself."""
  inside = pathlib.Path(path) / 'rollouts' / SPLIT.value
  return inside if inside.is_dir() else pathlib.Path(path)


def recompute(stored: Iterable[Rollout], chosen: Preset) -> Iterator[Change]:
  """Each rollout with its parts and reward under `chosen`."""
  total = rewarding.totals(chosen)
  kept = list(stored)
  found = [facts(rollout) for rollout in kept]
  for rollout, one in zip(kept, found):
    if absent := set(chosen.extra) - {term.name for term in one.diagnostics}:
      raise DataError(
        f'Rollout {rollout.id} was stored without the term {min(absent)}; leave it out of config.reward.own.'
      )
  taken = [parts.take_apart(one, chosen.form, tuple(chosen.extra)) for one in found]
  for rollout, one, reward in zip(kept, taken, total(taken)):
    yield Change(rollout, one, reward)


def facts(rollout: Rollout) -> Facts:
  """What a reward reads of a stored rollout; the same as of the answer that it was made from."""
  results = [piece.result for piece in rollout.answer if piece.result]
  lost = next((result for result in results if result.fault == 'environment'), None)
  prose = _prose(rollout)
  known = {term.name: term for term in rollout.diagnostics}
  if 'hygiene' not in known:  # of an older run
    fenced = any(piece.reason == 'fenced' for piece in rollout.answer)
    known['hygiene'] = hygiene.term(prose, fenced)
  return Facts(
    ImageRule.from_image_num(rollout.image_num),
    sum(piece.kind == 'picture' for piece in rollout.answer),
    f'The environment lost a {lost.tool or "tool"} call: {lost.error}' if lost else '',
    rollout.verdicts,
    hygiene.wordless(prose),
    tuple(known.values()),
  )


def table(changes: Sequence[Change]) -> list[str]:
  """Per step: samples, unscorable ones, and mean reward and parts before and after."""
  head = f'{"step":>6} {"samples":>8} {"unscorable":>14} {"reward":>16}' + ''.join(f'{n:>16}' for n in _PARTS)
  lines = ['Before → after', head]
  steps: dict[str, list[Change]] = collections.defaultdict(list)
  for change in changes:
    steps[str(change.rollout.step)].append(change)
  if len(steps) > 1:
    steps['all'] = list(changes)
  for step, members in steps.items():
    lost = sum(c.rollout.reward is None for c in members), sum(c.reward is None for c in members)
    reward = _arrow(_mean(c.rollout.reward for c in members), _mean(c.reward for c in members))
    line = f'{step:>6} {len(members):>8} {f"{lost[0]} → {lost[1]}":>14} {reward:>16}'
    for name in _PARTS:
      old = _mean(p.value for c in members for p in c.rollout.parts if p.name == name)
      line += f'{_arrow(old, _mean(getattr(c.parts, name).value for c in members)):>16}'
    lines.append(line)
  return lines


def groups(changes: Sequence[Change]) -> list[Group]:
  """The ranking of every group before and after."""
  members: dict[str, list[Change]] = collections.defaultdict(list)
  for change in changes:
    members[f'{change.rollout.step}/{change.rollout.task}'].append(change)
  return [_group(name, found) for name, found in members.items()]


def rankings(found: Sequence[Group], most: int) -> list[str]:
  """How many groups change their order, and those that do, most changed first."""
  told = [group.tau for group in found if group.tau is not None]
  changed = sorted((g for g in found if g.tau is not None and g.tau < 1), key=lambda g: (g.tau, g.name))
  best = sum(g.old[:1] != g.new[:1] for g in found)
  mean = f'{np.mean(told):.3f}' if told else 'n/a'
  lines = [
    f'{len(found)} groups: {len(changed)} change their order, {best} their best sample; '
    f"mean rank correlation (Kendall's τ) {mean}."
  ]
  for group in changed[:most]:
    order = lambda samples: ' > '.join(map(str, samples))
    lines.append(f'{group.name}: {order(group.old)}  →  {order(group.new)}  (τ {group.tau:.2f})')
  if len(changed) > most:
    lines.append(f'… and {len(changed) - most} more; --groups={len(changed)} prints them all.')
  return lines


def signs(changes: Sequence[Change]) -> list[str]:
  """The audit under the new reward."""
  held_out = sorted({v.judge for c in changes for v in c.rollout.verdicts} - set(_PARTS))
  found = audit.audit([sample(change) for change in changes], held_out)
  lines = [f'Audit: {sum(sign.flagged for sign in found)} of {len(found)} signs are told.']
  for sign in sorted(found, key=lambda s: not s.flagged):
    value = 'n/a' if sign.value is None else f'{sign.value:.3f}'
    lines.append(f'{"!" if sign.flagged else " "} {sign.name:<24} {value:>8}  {sign.words}')
  return lines


def sample(change: Change) -> audit.Sample:
  """What the audit reads of a recomputed rollout."""
  parts = {name: getattr(change.parts, name).value for name in _PARTS}
  return dataclasses.replace(watch.recalled(change.rollout), parts=parts, reward=change.reward)


def _prose(rollout: Rollout) -> str:
  return ' '.join(piece.text for piece in rollout.answer if piece.kind == 'text')


def _group(name: str, members: Sequence[Change]) -> Group:
  scored = [c for c in members if c.rollout.reward is not None and c.reward is not None]
  old = [(c.rollout.reward or 0.0, c.rollout.sample) for c in scored]
  new = [(c.reward or 0.0, c.rollout.sample) for c in scored]
  rank = lambda pairs: tuple(number for _, number in sorted(pairs, key=lambda p: (-round(p[0], 6), p[1])))
  return Group(name, rank(old), rank(new), kendall([r for r, _ in old], [r for r, _ in new]))


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
  """(agreeing − disagreeing pairs) / pairs that either tells apart; None where there is no such pair."""
  first, second = (np.sign(_gaps(np.asarray(values))) for values in (one, other))
  told = (first != 0) | (second != 0)
  return float((first * second)[told].sum() / told.sum()) if told.any() else None


def _gaps(values: np.ndarray) -> np.ndarray:
  """Differences of all pairs; those at rounding level are none."""
  rows, columns = np.triu_indices(len(values), 1)
  gaps = values[rows] - values[columns] if len(values) else np.zeros(0)
  return np.where(np.abs(gaps) < _CLOSE, 0.0, gaps)


def _mean(values: Iterable[float | None]) -> float | None:
  found = [value for value in values if value is not None]
  return float(np.mean(found)) if found else None


def _arrow(old: float | None, new: float | None) -> str:
  return ' → '.join('n/a' if value is None else f'{value:.3f}' for value in (old, new))


if __name__ == '__main__':
  front.run(main)
