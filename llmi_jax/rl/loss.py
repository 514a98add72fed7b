"""The policy loss: ratio → clip → aggregate, with its diagnostics. Minimised."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.rl import aggregate, ratios
from llmi_jax.rl.clip import Clip, surrogate


class Surrogate(NamedTuple):
  """Static choices of a policy loss.

  Attributes:
    ratio: see `ratios.log_ratios`.
    clip: see `Clip`.
    aggregation: see `aggregate.token_weights`.
    constant: Dr.GRPO's length.
  """

  ratio: ratios.Kind = 'token'
  clip: Clip = Clip()
  aggregation: aggregate.Kind = 'token_mean'
  constant: float = 1.0


def policy_loss(
  logp: Array, old: Array, advantage: Array, mask: Array, weights: Array, settings: Surrogate
) -> tuple[Array, dict[str, Array]]:
  """Weighted sum of the clipped surrogate.

  Args:
    logp: [B, T] under the policy being trained.
    old: [B, T] the surrogate's centre.
    advantage: [B].
    mask: [B, T].
    weights: [B, T], each token's share of the whole batch (`aggregate.token_weights`).
    settings: static choices.

  Returns:
    The loss and sums weighted like it: `ratio`, `clip_fraction`, `kl_old` (k3 of the ratio).
  """
  log_ratio = ratios.log_ratios(logp, old, mask, settings.ratio)
  loss, clipped = surrogate(log_ratio, advantage[:, None], settings.clip)
  weights = jax.lax.stop_gradient(weights)
  detached = jax.lax.stop_gradient(log_ratio)
  diagnostics = {
    'ratio': jnp.sum(weights * jnp.exp(detached)),
    'clip_fraction': jnp.sum(jnp.where(clipped, weights, 0.0)),
    'kl_old': jnp.sum(weights * (jnp.exp(-detached) + detached - 1.0)),
  }
  return jnp.sum(weights * jnp.where(mask > 0, loss, 0.0)), diagnostics
