"""Advantages from the rewards of a group (GRPO, arXiv 2402.03300 eq. 3; unbiased deviation as all peers)."""

from typing import Literal

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

Kind = Literal['grpo', 'dr_grpo', 'rloo']


def advantages(
  rewards: ArrayLike, kind: Kind = 'grpo', *, eps: float = 1e-6, tolerance: float = 1e-6
) -> Array:
  """Advantages within each group; unscorable samples get 0 and stand in no statistic.

  Groups with fewer than two scorable samples, and groups whose rewards differ by no more than `tolerance`
  (float rewards are rarely equal to the bit), get 0 throughout. Deviations are taken in two passes.

  Args:
    rewards: [P, R], NaN where unscorable (an infinite reward is none either); up to 1e15 in size.
    kind: `grpo` (A = (r − mean)/(std + eps), ddof 1), `dr_grpo` (r − mean, arXiv 2503.20783), `rloo` (r − the
      mean of the others, arXiv 2402.14740).
    eps: added to the deviation.
    tolerance: of the all-equal test.

  Returns:
    [P, R] float32.

  Raises:
    ValueError: the kind's name is unknown.
  """
  rewards = jnp.asarray(rewards, jnp.float32)
  scorable = jnp.isfinite(rewards)
  safe = jnp.where(scorable, rewards, 0.0)
  count = scorable.sum(-1, keepdims=True).astype(jnp.float32)
  mean = safe.sum(-1, keepdims=True) / jnp.maximum(count, 1.0)
  centred = jnp.where(scorable, safe - mean, 0.0)
  if kind == 'grpo':
    variance = (centred**2).sum(-1, keepdims=True) / jnp.maximum(count - 1.0, 1.0)
    result = centred / (jnp.sqrt(variance) + eps)
  elif kind == 'dr_grpo':
    result = centred
  elif kind == 'rloo':
    result = centred * count / jnp.maximum(count - 1.0, 1.0)
  else:
    raise ValueError(f'Unknown advantage {kind!r}; known are grpo, dr_grpo and rloo.')
  high = jnp.where(scorable, safe, -jnp.inf).max(-1, keepdims=True)
  low = jnp.where(scorable, safe, jnp.inf).min(-1, keepdims=True)
  informative = (count >= 2) & (high - low > tolerance)
  return jnp.where(informative & scorable, result, 0.0)
