"""The losses again: one token at a time, in float64, plain Python."""

import numpy as np


def log_ratios(logp, old, mask, kind):
  made = np.zeros(logp.shape)
  for i, row in enumerate(mask):
    live = [t for t in range(len(row)) if row[t]]
    deltas = {t: float(logp[i, t]) - float(old[i, t]) for t in live}
    for t in live:
      made[i, t] = deltas[t] if kind == 'token' else sum(deltas.values()) / len(live)
  return made


def per_token(logp, old, advantage, mask, settings, *, sampled, reference, entropy):
  """Loss of every live token, by (row, place)."""
  clip, fix = settings.clip, settings.correction
  ratios, made = log_ratios(logp, old, mask, settings.ratio), {}
  for i, row in enumerate(mask):
    live = [t for t in range(len(row)) if row[t]]
    whole = sum(float(old[i, t]) - float(sampled[i, t]) for t in live)
    for t in live:
      rho, a = np.exp(ratios[i, t]), float(advantage[i])
      held = min(max(rho, 1 - clip.low), 1 + clip.high)
      if settings.objective == 'cispo':
        loss = -held * a * float(logp[i, t])
      else:
        loss = max(-a * rho, -a * held)
        if a < 0 and clip.dual:
          loss = min(loss, -a * clip.dual)
      gap = float(old[i, t]) - float(sampled[i, t])
      if fix.kind == 'token':
        loss *= min(np.exp(gap), fix.high)
      elif fix.kind == 'sequence':
        loss *= min(np.exp(whole), fix.high)
      elif fix.kind == 'mask':
        loss *= np.exp(gap) if fix.low <= np.exp(gap) <= fix.high else 0.0
      d = float(reference[i, t]) - float(logp[i, t])
      estimates = {'k1': -d, 'k2': d * d / 2, 'k3': np.exp(d) - d - 1}
      loss += settings.kl * estimates[settings.kl_kind[:2]] - settings.entropy * float(entropy[i, t])
      made[i, t] = loss
  return made


def aggregate(losses, mask, kind, constant):
  rows = [i for i, row in enumerate(mask) if any(row)]
  if not rows:
    return 0.0
  if kind == 'token_mean':
    return sum(losses.values()) / len(losses)
  sums = {i: [loss for (row, _), loss in losses.items() if row == i] for i in rows}
  each = {
    'seq_mean_token_mean': lambda own: sum(own) / len(own),
    'seq_mean_token_sum': sum,
    'constant': lambda own: sum(own) / constant,
  }[kind]
  return sum(each(own) for own in sums.values()) / len(rows)


def advantages(rewards, kind):
  """Of one group; None where unscorable."""
  known = [r for r in rewards if r is not None]
  if len(known) < 2 or max(known) - min(known) <= 1e-6:
    return [0.0] * len(rewards)
  mean = sum(known) / len(known)
  deviation = (sum((r - mean) ** 2 for r in known) / (len(known) - 1)) ** 0.5

  def one(r):
    if kind == 'grpo':
      return (r - mean) / (deviation + 1e-6)
    return r - mean if kind == 'dr_grpo' else r - (sum(known) - r) / (len(known) - 1)

  return [0.0 if r is None else one(r) for r in rewards]
