"""The policy loss: ratio → clip → correction → aggregate, KL and entropy, with its diagnostics. Minimised.

loss = Σ weight·(correction·surrogate + β·KL − c·entropy)
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.rl import aggregate, correction, ratios
from llmi_jax.rl import kl as divergences
from llmi_jax.rl.clip import Clip, cispo, surrogate
from llmi_jax.rl.correction import Correction

Objective = Literal['clip', 'cispo']


class Surrogate(NamedTuple):
  """Static choices of a policy loss.

  Attributes:
    ratio: see `ratios.log_ratios`.
    clip: see `Clip`.
    aggregation: see `aggregate.token_weights`.
    constant: Dr.GRPO's length.
    objective: `clip` or `cispo`; see `clip`.
    correction: see `Correction`.
    kl: β of the KL term; 0 needs no reference.
    kl_kind: see `kl.penalty`.
    entropy: c of the entropy bonus.
  """

  ratio: ratios.Kind = 'token'
  clip: Clip = Clip()
  aggregation: aggregate.Kind = 'token_mean'
  constant: float = 1.0
  objective: Objective = 'clip'
  correction: Correction = Correction()
  kl: float = 0.0
  kl_kind: divergences.Kind = 'k3'
  entropy: float = 0.0


# Diagnostics that are sums over live tokens, to be divided by their number; `logp_gap_max` is a maximum.
SUMS = (
  'ratio',
  'clip_fraction',
  'clip_low',
  'clip_high',
  'clip_dual',
  'kl_old',
  'kl_reference',
  'entropy',
  'logp_gap',
  'correction',
  'corrected',
)


def policy_loss(
  logp: Array,
  old: Array,
  advantage: Array,
  mask: Array,
  weights: Array,
  settings: Surrogate,
  *,
  sampled: Array | None = None,
  reference: Array | None = None,
  entropy: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
  """Weighted sum over tokens.

  Args:
    logp: [B, T] under the policy being trained.
    old: [B, T] the surrogate's centre.
    advantage: [B].
    mask: [B, T].
    weights: [B, T], each token's share of the whole batch (`aggregate.token_weights`).
    settings: static choices.
    sampled: [B, T] under the sampler; needed by a correction and for `logp_gap`.
    reference: [B, T] under the reference policy; needed where β > 0.
    entropy: [B, T] of the policy; needed for a bonus.

  Returns:
    The loss and `SUMS` over live tokens: mean ratio, fractions that a bound decided, `kl_old` (k3 of the
    ratio), `kl_reference`, entropy, |ℓ° − ℓʳ| and the mean factor and truncated share of the correction; with
    the largest gap, `logp_gap_max`.

  Raises:
    ValueError: a name is unknown, or an array that the settings need is missing.
  """
  if (settings.kl and reference is None) or (settings.correction.kind != 'none' and sampled is None):
    raise ValueError('A KL term needs reference log-probabilities, a correction those of the sampler.')
  live = mask > 0
  old = jax.lax.stop_gradient(old)
  log_ratio = ratios.log_ratios(logp, old, mask, settings.ratio)
  if settings.objective == 'cispo':
    loss, clipped = cispo(log_ratio, jnp.where(live, logp, 0.0), advantage[:, None], settings.clip)
  elif settings.objective == 'clip':
    loss, clipped = surrogate(log_ratio, advantage[:, None], settings.clip)
  else:
    raise ValueError(f'Unknown objective {settings.objective!r}; known are clip and cispo.')
  sampled = old if sampled is None else sampled
  factor, truncated = correction.weights(old, sampled, mask, settings.correction)
  loss = loss * factor
  divergence = divergences.penalty(logp, logp if reference is None else reference, mask, settings.kl_kind)
  entropy = jnp.zeros_like(logp) if entropy is None else jnp.where(live, entropy, 0.0)
  if settings.kl:
    loss = loss + settings.kl * divergence
  if settings.entropy:
    loss = loss - settings.entropy * entropy
  gap = jnp.abs(ratios.difference(old, sampled, mask))
  detached = jax.lax.stop_gradient(log_ratio)
  per_token = {
    'ratio': jnp.exp(detached),
    'clip_fraction': clipped.low | clipped.high | clipped.dual,
    'clip_low': clipped.low,
    'clip_high': clipped.high,
    'clip_dual': clipped.dual,
    'kl_old': jnp.exp(-detached) + detached - 1.0,
    'kl_reference': divergence,
    'entropy': entropy,
    'logp_gap': gap,
    'correction': factor,
    'corrected': truncated,
  }
  sums = {name: jnp.sum(jnp.where(live, value.astype(logp.dtype), 0.0)) for name, value in per_token.items()}
  sums = jax.lax.stop_gradient(sums | {'logp_gap_max': gap.max()})
  return jnp.sum(jax.lax.stop_gradient(weights) * jnp.where(live, loss, 0.0)), sums
