"""Estimators of KL(policy ‖ reference) per token (Schulman, "Approximating KL divergence").

With d = ℓ* − ℓ (reference minus policy): k1 = −d, k2 = d²/2, k3 = e^d − d − 1. As a loss on on-policy samples
their gradients are not those of their expectations: k1's is zero in expectation, k2's is that of the reverse
KL, k3's is (1 − e^d)·∇ℓ, in expectation that of KL(reference ‖ policy). `k1_k2` and `k3_k2` have the value of
the first and the gradient of the second.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.rl.ratios import difference

Kind = Literal['k1', 'k2', 'k3', 'k1_k2', 'k3_k2']


def penalty(logp: Array, reference: Array, mask: Array, kind: Kind = 'k3', *, bound: float = 20.0) -> Array:
  """Estimates per token; no gradient flows through the reference, nor where |d| exceeds the bound.

  Args:
    logp: [B, T] under the policy.
    reference: [B, T] under the reference.
    mask: [B, T].
    kind: see above.
    bound: d is clamped to ±`bound`, so that its exponential stays finite.

  Returns:
    [B, T], 0 where masked.

  Raises:
    ValueError: the estimator's name is unknown.
  """
  reference = jax.lax.stop_gradient(reference)
  delta = jnp.clip(difference(reference, logp, mask), -bound, bound)
  estimates = {
    'k1': lambda: -delta,
    'k2': lambda: delta**2 / 2,
    'k3': lambda: jnp.exp(delta) - delta - 1.0,
  }
  value, _, gradient = kind.partition('_')
  if value not in estimates or gradient not in ('', 'k2') or kind == 'k2_k2':
    raise ValueError(f'Unknown KL estimator {kind!r}; known are k1, k2, k3, k1_k2 and k3_k2.')
  if not gradient:
    return estimates[value]()
  slope = estimates[gradient]()
  return slope + jax.lax.stop_gradient(estimates[value]() - slope)
