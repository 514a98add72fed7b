"""Keeps the experts of a mixture in use: the balancing loss per sequence (arXiv 2412.19437 eq. 17-20).

For a sequence of T tokens, each choosing K of E experts,

    loss = Σ_e f_e·P_e,    f_e = E/(K·T)·(how often e was chosen),    P_e = 1/T·Σ_t p_t(e),

the mean over layers. It is 1 where all experts are used alike, more where they are not; the gradient flows
through the probabilities alone. Being a sum over sequences, it does not depend on micro-batches.
"""

import jax
import jax.numpy as jnp
from jax import Array


def sequence_loss(chosen: Array, probability: Array, active: int) -> Array:
  """Loss of each sequence.

  Args:
    chosen: [L, B, E], how often a sequence's live tokens chose each expert.
    probability: [L, B, E], the sum of each expert's probability over them.
    active: K.

  Returns:
    [B]; 0 for a sequence without a token.
  """
  chosen = jax.lax.stop_gradient(chosen)
  experts = chosen.shape[-1]
  tokens = chosen.sum(-1, keepdims=True) / active
  safe = jnp.maximum(tokens, 1.0)
  share = chosen * experts / (active * safe)
  return jnp.mean(jnp.sum(share * probability / safe, -1), 0)
