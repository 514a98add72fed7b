"""The reward's audit beside training: signs that the policy games it, every so many steps."""

import collections
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from llmi_jax.core.answer import Prose
from llmi_jax.core.task import ImageRule
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.core.verdict import Verdict
from llmi_jax.data import rollouts
from llmi_jax.data.rollout import Rollout
from llmi_jax.rewards import audit, rules

_PARTS = ('rule', 'llm', 'mllm')


class Watch:
  """Keeps the last samples; nothing that trains depends on it."""

  def __init__(self, every: int, held_out: Sequence[str] = (), most: int = 2000):
    """Makes one.

    Args:
      every: steps between two audits; 0 for none.
      held_out: judges that never give reward.
      most: samples that are looked at.
    """
    self._every, self._held_out = every, tuple(held_out)
    self._samples: collections.deque[audit.Sample] = collections.deque(maxlen=most)

  def __call__(self, step: int, samples: Sequence[audit.Sample]) -> dict[str, float]:
    """Numbers for the step's line: `audit/told`, how many signs are, and each sign that is."""
    self._samples.extend(samples)
    if not self._every or (step + 1) % self._every:
      return {}
    told = audit.flagged(audit.audit(tuple(self._samples), self._held_out))
    return {'audit/told': float(len(told))} | {f'audit/{name}': value for name, value in told.items()}

  def recall(self, workdir: str | os.PathLike) -> None:
    """Looks again at the last samples of a run that goes on.

    Raises:
      DataError: their rollouts are broken.
    """
    files = rollouts.files(pathlib.Path(workdir) / 'rollouts' / 'train')
    kept: list[audit.Sample] = []
    while files and len(kept) < (self._samples.maxlen or 0):
      kept[:0] = map(recalled, rollouts.read(files.pop()))
    self._samples.extend(kept)


def sample(trajectory: Trajectory) -> audit.Sample:
  """What the audit reads of a trajectory."""
  task, answer = trajectory.task, trajectory.answer
  reward = answer.reward
  return audit.Sample(
    trajectory.step,
    task.id,
    task.question,
    ' '.join(part.text for part in answer.parts if isinstance(part, Prose)),
    '\n'.join(turn.text for turn in trajectory.turns),
    rules.tag_counts(answer)[1],
    tuple(outcome.tool for outcome in answer.outcomes),
    task.required_tools,
    tuple(picture.image.sha256 for picture in answer.pictures),
    task.image_rule.count if task.image_rule.kind in ('none', 'exactly') else None,
    {t.name: t.value for t in (reward.rule, reward.llm, reward.mllm)} if reward else {},
    trajectory.reward,
    _votes(answer.verdicts),
  )


def recalled(rollout: Rollout) -> audit.Sample:
  """The same of a rollout that was kept."""
  rule = ImageRule.from_image_num(rollout.image_num)
  return audit.Sample(
    rollout.step,
    rollout.task,
    rollout.question,
    ' '.join(piece.text for piece in rollout.answer if piece.kind == 'text'),
    rollout.completion,
    sum(piece.kind in ('picture', 'gap') for piece in rollout.answer),
    tuple(piece.result.tool for piece in rollout.answer if piece.result),
    rollout.required_tools,
    tuple(piece.picture.sha256 for piece in rollout.answer if piece.picture),
    rule.count if rule.kind in ('none', 'exactly') else None,
    {part.name: part.value for part in rollout.parts if part.name in _PARTS},
    rollout.reward,
    _votes(rollout.verdicts),
  )


def _votes(verdicts: Iterable[Verdict]) -> dict[str, tuple[float, ...]]:
  """Judge → mean grade of each of its votes."""
  votes: dict[str, list[float]] = collections.defaultdict(list)
  for verdict in verdicts:
    if verdict.scores:
      votes[verdict.judge].append(float(np.mean([score.unit for score in verdict.scores])))
  return {judge: tuple(units) for judge, units in votes.items()}
