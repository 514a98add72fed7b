"""Estimators of KL(policy ‖ reference) per token (Schulman, "Approximating KL divergence").

With d = ℓ* − ℓ (reference minus policy): k1 = −d, k2 = d²/2, k3 = e^d − d − 1. As a loss on on-policy samples
k1's expected gradient is zero, k2's is that of the reverse KL, k3's is that of KL(reference ‖ policy) at
first order.
"""

from typing import Literal

import jax.numpy as jnp
from jax import Array

Kind = Literal['k1', 'k2', 'k3']


def penalty(logp: Array, reference: Array, mask: Array, kind: Kind = 'k3', *, bound: float = 20.0) -> Array:
  """[B, T] estimates, 0 where masked.

  Raises:
    ValueError: the kind's name is unknown.
  """
  delta = jnp.clip(jnp.where(mask > 0, reference - logp, 0.0), -bound, bound)
  if kind == 'k1':
    return -delta
  if kind == 'k2':
    return delta**2 / 2
  if kind == 'k3':
    return jnp.exp(delta) - delta - 1.0
  raise ValueError(f'Unknown KL estimator {kind!r}; known are k1, k2 and k3.')
