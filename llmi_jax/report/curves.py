"""Which figures of `metrics.jsonl` become charts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from llmi_jax.report.charts import Chart, Series

_PARTS = ('rule', 'llm', 'mllm')
_TROUBLES = (
  ('malformed', 'malformed_rate'),
  ('truncated', 'truncated'),
  ('zero advantage', 'zero_advantage'),
)
_DEVICE = ('prefill', 'decode', 'view', 'update', 'idle')
_CALLS = ('tools', 'judge')


def charts(lines: Sequence[Mapping[str, Any]]) -> list[Chart]:
  """The charts that the lines have values for."""
  if not lines:
    return []
  steps = tuple(int(line['step']) for line in lines)
  tools = sorted({key.split('/')[1] for line in lines for key in line if key.startswith('tools/')})

  def series(name: str, key: str, strong: bool = False, absent: float | None = None) -> Series:
    return Series(name, tuple(line.get(key, absent) for line in lines), strong)

  parts = tuple(series(part, f'reward/{part}') for part in _PARTS)
  calls = tuple(series(tool, f'tools/{tool}/calls') for tool in tools)
  success = tuple(series(tool, f'tools/{tool}/success_rate') for tool in tools)
  device = tuple(series(kind, f'time/{kind}') for kind in _DEVICE)
  waited = tuple(series(kind, f'time/{kind}') for kind in _CALLS)
  troubles = tuple(series(name, f'rollout/{key}') for name, key in _TROUBLES)
  causes = sorted(
    {key.removeprefix('unscorable/') for line in lines for key in line if key.startswith('unscorable/')}
  )
  lost = tuple(series(cause, f'unscorable/{cause}', absent=0) for cause in causes)
  length = (series('tokens', 'rollout/length_mean', True),)
  gradient = (series('norm', 'grad_norm', True),)
  drawn = (
    Chart(
      'Reward and its parts', 'score', steps, (series('reward', 'reward/mean', True), *parts), whole=True
    ),
    Chart('Tool calls', 'calls per step', steps, calls),
    Chart('Tool success', 'share of calls', steps, success, whole=True),
    Chart('What goes wrong', 'share of tags or samples', steps, troubles),
    Chart('What the device does', 'seconds per step', steps, device, stacked=True),
    Chart('Calls under way', 'seconds per step', steps, waited),
    Chart('Response length', 'mean tokens', steps, length),
    Chart('Gradient norm', 'global norm', steps, gradient),
    Chart('Unscorable samples by cause', 'samples per step', steps, lost),
  )
  return [c for c in map(_filled, drawn) if c.series]


def _filled(chart: Chart) -> Chart:
  """The chart without lines that have no value at all."""
  kept = tuple(s for s in chart.series if any(value is not None for value in s.values))
  return dataclasses.replace(chart, series=kept)
