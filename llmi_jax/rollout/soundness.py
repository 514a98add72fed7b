"""Numbers that are not finite: kept from the update where seen in time, traced to a sample otherwise."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from llmi_jax.core.trajectory import Trajectory


def set_aside(trajectories: Sequence[Trajectory]) -> tuple[list[Trajectory], list[str]]:
  """The same trajectories, those that no update may see made unscorable; and a sentence's worth of each.

  A reward that is not finite, and log-probs of the sampler that are not, are no doing of the policy's.
  """
  found = [(trajectory, _fault(trajectory)) for trajectory in trajectories]
  kept = [dataclasses.replace(t, reward=None, advantage=0.0) if words else t for t, words in found]
  return kept, [f'{name(trajectory)}: {words}' for trajectory, words in found if words]


def culprits(
  trajectories: Sequence[Trajectory], samples: int, refused: Callable[[Sequence[Trajectory]], bool]
) -> str:
  """Whose gradient is not finite, in words.

  Every group is tried alone, in place of all the others, so that the programs of the step serve; then the
  samples of the first group that is refused.

  Args:
    trajectories: of the step, in request order.
    samples: per group.
    refused: whether an update from as many trajectories would be left out.
  """
  groups = [list(trajectories[at : at + samples]) for at in range(0, len(trajectories), samples)]
  scorable = [group for group in groups if any(t.reward is not None for t in group)]
  if not scorable:
    return 'no sample is scorable'
  bad = [group for group in scorable if refused(group * len(groups))]
  if not bad:
    return 'no group alone has a gradient that is not finite; their sum has'
  if len(bad) == len(groups) > 1:
    return 'the gradient of every group is not finite, so the parameters are at fault, not a sample'
  alone = [t for t in bad[0] if t.reward is not None and refused([t] * len(trajectories))]
  whose = ', '.join(map(name, alone)) or f'the samples of task {bad[0][0].task.id} together'
  further = f', and of {len(bad) - 1} further tasks' if len(bad) > 1 else ''
  return f'the gradient of {whose}{further} is not finite'


def name(trajectory: Trajectory) -> str:
  """Such as `sample 2 of task tables/7`."""
  return f'sample {trajectory.sample} of task {trajectory.task.id}'


def _fault(trajectory: Trajectory) -> str:
  if trajectory.reward is None:
    return ''
  if not math.isfinite(trajectory.reward):
    return f'its reward is {trajectory.reward}'
  if not all(np.isfinite(turn.logp_sampled[turn.mask]).all() for turn in trajectory.turns):
    return 'its log-probs are not finite'
  return ''
