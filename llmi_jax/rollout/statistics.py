"""Numbers about scored trajectories: what `metrics.jsonl` and `summary.json` say of a step."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from llmi_jax.core.trajectory import Trajectory
from llmi_jax.rewards import rules

PARTS = ('rule', 'llm', 'mllm')


def step_scalars(trajectories: Sequence[Trajectory], tools: Sequence[str]) -> dict[str, float]:
  """A training step's numbers; a mean over nothing is NaN (written as null).

  Args:
    trajectories: of one step, advantages included.
    tools: names of the configured tools.
  """
  rewards = [t.reward for t in trajectories if t.reward is not None]
  lengths = [len(turn.tokens) for t in trajectories for turn in t.turns]
  scalars = {
    'reward/mean': _mean(rewards),
    'reward/std': float(np.std(rewards)) if rewards else float('nan'),
    'rollout/tokens': float(sum(lengths)),
    'rollout/length_mean': _mean(lengths),
    'rollout/truncated': _mean(t.turns[-1].finish == 'length' for t in trajectories),
    'rollout/unscorable': float(len(trajectories) - len(rewards)),
    'rollout/zero_advantage': _mean(t.advantage == 0 for t in trajectories),
    'rollout/malformed_rate': 1.0 - _valid_tag_rate(trajectories),
    'rollout/image_count_error': _mean(_count_error(t) for t in trajectories),
  }
  for name in PARTS:
    values = [getattr(t.answer.reward, name).value for t in trajectories if t.answer.reward]
    scalars[f'reward/{name}'] = _mean(v for v in values if v is not None)
  for name in tools:
    outcomes = [o for t in trajectories for o in t.answer.outcomes if o.tool == name]
    scalars[f'tools/{name}/calls'] = float(len(outcomes))
    scalars[f'tools/{name}/success_rate'] = _mean(o.status == 'ok' for o in outcomes)
  further = [term for t in trajectories if t.answer.reward for term in t.answer.reward.extra]
  for name in {term.name for term in further}:
    values = [term.value for term in further if term.name == name]
    scalars[f'reward/{name}'] = _mean(v for v in values if v is not None)
  scalars |= {f'unscorable/{cause}': float(n) for cause, n in causes(trajectories).items()}
  return scalars | {f'judge/{what}': float(n) for what, n in verdict_counts(trajectories).items()}


def evaluation(trajectories: Sequence[Trajectory]) -> dict[str, float | int]:
  """An evaluation's numbers, over samples; `n_tasks` counts distinct tasks."""
  parts = step_scalars(trajectories, ())
  return {
    'reward': parts['reward/mean'],
    **{name: parts[f'reward/{name}'] for name in PARTS},
    'valid_tag_rate': _valid_tag_rate(trajectories),
    'image_rule_rate': _mean(
      rules.image_rule_score(t.task.image_rule, len(t.answer.pictures), exact=True) for t in trajectories
    ),
    'tool_accuracy': _mean(rules.tool_accuracy(t.task, t.answer) for t in trajectories),
    'tool_success': _mean(o.status == 'ok' for t in trajectories for o in t.answer.outcomes),
    'length_mean': parts['rollout/length_mean'],
    'n_tasks': len({t.task.id for t in trajectories}),
    'n_samples': len(trajectories),
    'n_unscorable': int(parts['rollout/unscorable']),
  }


def causes(trajectories: Iterable[Trajectory]) -> dict[str, int]:
  """Unscorable samples by cause: the tool or judge that the environment lost."""
  counts: collections.Counter[str] = collections.Counter()
  for trajectory in trajectories:
    if trajectory.reward is None:
      answer = trajectory.answer
      lost = {f'tool {o.tool}' for o in answer.outcomes if o.fault == 'environment'}
      # A judge that gives no reward costs none.
      lost |= {f'judge {v.judge}' for v in answer.verdicts if v.status == 'missing' and v.judge in PARTS}
      counts.update(lost or {'other'})
  return dict(counts)


def verdict_counts(trajectories: Iterable[Trajectory]) -> dict[str, int]:
  """Verdicts of judges that can fail: `NAME/scored`, and `NAME/missing/FAULT` under each fault's own name."""
  counts: collections.Counter[str] = collections.Counter()
  for trajectory in trajectories:
    for verdict in trajectory.answer.verdicts:
      if verdict.prompt_hash:  # programs have no prompt
        lost = f'/{verdict.cause}' if verdict.cause else ''
        counts[f'{verdict.judge}/{verdict.status}{lost}'] += 1
  return dict(counts)


def _valid_tag_rate(trajectories: Iterable[Trajectory]) -> float:
  counts = [rules.tag_counts(t.answer) for t in trajectories]
  valid, tags = (sum(column) for column in zip(*counts)) if counts else (0, 0)
  return valid / tags if tags else float('nan')


def _count_error(trajectory: Trajectory) -> float:
  """Pictures made minus pictures wanted, where the rule wants a number."""
  rule = trajectory.task.image_rule
  made = len(trajectory.answer.pictures)
  if rule.kind in ('exactly', 'none'):
    return made - rule.count
  return min(0, made - 1) if rule.kind == 'at_least_one' else 0


def _mean(values: Iterable[float]) -> float:
  numbers = list(values)
  return float(np.mean(numbers)) if numbers else float('nan')
