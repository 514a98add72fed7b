"""The reward's audit beside training: signs that the policy games it, every so many steps."""

import collections
from collections.abc import Sequence

import numpy as np

from llmi_jax.core.answer import Prose
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.rewards import audit, rules


class Watch:
  """Keeps the last samples. After a resumption it starts anew; nothing that trains depends on it."""

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


def sample(trajectory: Trajectory) -> audit.Sample:
  """What the audit reads of a trajectory."""
  task, answer = trajectory.task, trajectory.answer
  votes: dict[str, list[float]] = collections.defaultdict(list)
  for verdict in answer.verdicts:
    if verdict.scores:
      votes[verdict.judge].append(float(np.mean([score.unit for score in verdict.scores])))
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
    {judge: tuple(units) for judge, units in votes.items()},
  )
