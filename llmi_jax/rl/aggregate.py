"""From a loss per token to one number, as weights per token.

A weight says what share of the whole batch's loss a token carries, so micro-batches add up to the whole
batch exactly: loss = Σ weight · loss_t, whichever rows stand together.
"""

from typing import Literal

import jax.numpy as jnp
from jax import Array

Kind = Literal['token_mean', 'seq_mean_token_mean', 'seq_mean_token_sum', 'constant']


def token_weights(mask: Array, kind: Kind = 'token_mean', *, constant: float = 1.0) -> Array:
  """Weight of every token in the batch's loss.

  Args:
    mask: [B, T] of the whole batch, 1 on sampled tokens of scorable rows.
    kind: `token_mean` (DAPO) 1/Σm; `seq_mean_token_mean` (GRPO, GSPO) 1/(B·T_i); `seq_mean_token_sum` 1/B;
      `constant` (Dr.GRPO) 1/(B·constant). B counts rows with at least one live token.
    constant: the length of `constant`.

  Returns:
    [B, T] float32, 0 where masked; all 0 if nothing is live.

  Raises:
    ValueError: the kind's name is unknown.
  """
  mask = (jnp.asarray(mask) > 0).astype(jnp.float32)
  length = mask.sum(-1, keepdims=True)
  rows = jnp.maximum((length > 0).sum().astype(jnp.float32), 1.0)
  if kind == 'token_mean':
    return mask / jnp.maximum(mask.sum(), 1.0)
  if kind == 'seq_mean_token_mean':
    return mask / (rows * jnp.maximum(length, 1.0))
  if kind == 'seq_mean_token_sum':
    return mask / rows
  if kind == 'constant':
    return mask / (rows * constant)
  known = 'token_mean, seq_mean_token_mean, seq_mean_token_sum and constant'
  raise ValueError(f'Unknown aggregation {kind!r}; known are {known}.')
