"""Numbers about scored samples: what `metrics.jsonl` and `eval/` say of a step."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from llmi_jax.rollout.facts import PARTS, Facts


def step_scalars(samples: Sequence[Facts], tools: Sequence[str]) -> dict[str, float]:
  """A training step's numbers; a mean over nothing is NaN (written as null).

  Args:
    samples: of one step, of all processes.
    tools: names of the configured tools.
  """
  rewards = [s.reward for s in samples if s.reward is not None]
  lengths = [length for s in samples for length in s.lengths]
  scalars = {
    'reward/mean': _mean(rewards),
    'reward/std': float(np.std(rewards)) if rewards else float('nan'),
    'rollout/tokens': float(sum(lengths)),
    'rollout/length_mean': _mean(lengths),
    'rollout/truncated': _mean(s.truncated for s in samples),
    'rollout/unscorable': float(len(samples) - len(rewards)),
    'rollout/zero_advantage': _mean(s.advantage == 0 for s in samples),
    'rollout/malformed_rate': 1.0 - _valid_tag_rate(samples),
    'rollout/image_count_error': _mean(s.count_error for s in samples),
  }
  terms = [term for s in samples for term in s.terms]
  for name in (*PARTS, *{term.name for term in terms}.difference(PARTS)):
    scalars[f'reward/{name}'] = _mean(t.value for t in terms if t.name == name and t.value is not None)
  for name in tools:
    outcomes = [o for s in samples for o in s.outcomes if o.tool == name]
    scalars[f'tools/{name}/calls'] = float(len(outcomes))
    scalars[f'tools/{name}/success_rate'] = _mean(o.status == 'ok' for o in outcomes)
  scalars |= {f'unscorable/{cause}': float(n) for cause, n in causes(samples).items()}
  counts = collections.Counter(verdict for s in samples for verdict in s.verdicts)
  return scalars | {f'judge/{what}': float(n) for what, n in counts.items()}


def evaluation(samples: Sequence[Facts]) -> dict[str, float | int]:
  """An evaluation's numbers, over samples; `n_tasks` counts distinct tasks."""
  parts = step_scalars(samples, ())
  return {
    'reward': parts['reward/mean'],
    **{name: parts[f'reward/{name}'] for name in PARTS},
    'valid_tag_rate': _valid_tag_rate(samples),
    'image_rule_rate': _mean(s.rule_score for s in samples),
    'tool_accuracy': _mean(s.tool_accuracy for s in samples),
    'tool_success': _mean(o.status == 'ok' for s in samples for o in s.outcomes),
    'length_mean': parts['rollout/length_mean'],
    'n_tasks': len({s.task for s in samples}),
    'n_samples': len(samples),
    'n_unscorable': int(parts['rollout/unscorable']),
  }


def causes(samples: Iterable[Facts]) -> dict[str, int]:
  """Unscorable samples by cause: the tool or judge that the environment lost."""
  return dict(collections.Counter(cause for s in samples for cause in s.lost))


def joined(gauges: Sequence[dict[str, float]]) -> dict[str, float]:
  """Counts of several processes, added up."""
  total: collections.Counter[str] = collections.Counter()
  for own in gauges:
    total.update(own)
  return dict(total)


def _valid_tag_rate(samples: Iterable[Facts]) -> float:
  valid, tags = 0, 0
  for sample in samples:
    valid, tags = valid + sample.valid, tags + sample.tags
  return valid / tags if tags else float('nan')


def _mean(values: Iterable[float | None]) -> float:
  numbers = [float(value) for value in values if value is not None]
  return float(np.mean(numbers)) if numbers else float('nan')
