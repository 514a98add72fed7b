"""A step's line, in at most 160 columns."""

import math
from collections.abc import Mapping
from typing import Any

from llmi_jax import metrics
from llmi_jax.terminal.screen import WIDTH

NONE = 'n/a'
HEAD = (
  'flat: groups of one reward, clip: of ratios, |g|: gradient norm, len: tokens, cut: at the limit, '
  'lost: tools+judges, s: rollout+reward+logp+update+wait'
)


def line(
  step: int, total: int, scalars: Mapping[str, Any], left: float | None = None, kl: bool = True
) -> str:
  """The line of a finished step.

  Args:
    step: how many are done.
    total: of how many.
    scalars: of the step, as `metrics.jsonl` has them; what is missing or no number is `n/a`.
    left: seconds to the end, where they are known.
    kl: whether there is a policy to compare with.
  """
  get = lambda name: number(scalars.get(name))
  reference = get('policy/kl_reference') if kl else None
  words = [
    f'step {step}/{total}',
    f'reward {_fixed(get("reward/mean"), 3)}±{_fixed(get("reward/std"), 2)}',
    f'flat {_percent(get("groups/zero_advantage"))}',
    f'KL {_short(reference)}',
    f'clip {_percent(get("policy/clip_fraction"))}',
    f'|g| {_short(get("grad_norm"))}',
    f'len {_fixed(get("rollout/length_mean"), 0)}',
    f'cut {_percent(get("rollout/truncated"))}',
    f'lost {failed_tools(scalars)}+{failed_judges(scalars)}',
    f'{_count(rate(scalars))} tok/s',
    f'MFU {_percent(get("time/mfu"))}',
    f'{_fixed(get("time/memory_gib"), 1)} GiB',
    f's {seconds(scalars)}',
    f'ETA {NONE if left is None else metrics.duration(left)}',
  ]
  text = ' '.join(words)
  return text if len(text) <= WIDTH else f'{text[: WIDTH - 1]}…'


def seconds(scalars: Mapping[str, Any]) -> str:
  """A step's seconds: rollout, reward beside it, log-probabilities, update and waiting, and all of it."""
  get = lambda name: number(scalars.get(f'time/{name}')) or 0.0
  parts = (
    get('view') + get('prefill') + get('decode'),
    get('reward'),
    get('logp'),
    max(0.0, get('update') - get('logp')),
    get('idle'),
  )
  return '+'.join(_time(part) for part in parts) + f'={_time(get("step"))}'


def rate(scalars: Mapping[str, Any]) -> float | None:
  """Tokens sampled per second of the whole step; None where it compiled, as such a step says nothing."""
  tokens, whole = number(scalars.get('rollout/tokens')), number(scalars.get('time/step'))
  return tokens / whole if tokens and whole and not scalars.get('time/compile') else None


def failed_tools(scalars: Mapping[str, Any]) -> int:
  """Calls without a picture, whoever's fault."""
  failed = 0.0
  for name in scalars:
    calls = number(scalars[name]) if name.startswith('tools/') and name.endswith('/calls') else None
    success = number(scalars.get(f'{name.removesuffix("calls")}success_rate'))
    failed += 0.0 if calls is None or success is None else calls * (1.0 - success)
  return round(failed)


def failed_judges(scalars: Mapping[str, Any]) -> int:
  """Verdicts that the environment lost."""
  missing = [number(n) for name, n in scalars.items() if name.startswith('judge/') and '/missing' in name]
  return round(sum(filter(None, missing)))


def number(value: Any) -> float | None:
  """A finite number, or None."""
  return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _fixed(value: float | None, digits: int) -> str:
  return NONE if value is None else f'{value:.{digits}f}'


def _percent(value: float | None) -> str:
  if value is None:
    return NONE
  return f'{100 * value:.1f}%' if 0 < value < 0.0995 else f'{100 * value:.0f}%'


def _short(value: float | None) -> str:
  return NONE if value is None else f'{value:.2g}'


def _count(value: float | None) -> str:
  if value is None:
    return NONE
  return f'{value / 1000:.1f}k' if value >= 1000 else f'{value:.0f}'


def _time(value: float) -> str:
  return f'{value:.1f}' if value < 99.95 else f'{value:.0f}'
