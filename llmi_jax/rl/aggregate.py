"""From a loss per token to one number, as weights per token.

A weight says what share of the whole batch's loss a token carries, so micro-batches add up to the whole
batch exactly: loss = Σ weight · loss_t, whichever rows stand together and whichever process holds them.
"""

from typing import Literal

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

Kind = Literal['token_mean', 'seq_mean_token_mean', 'seq_mean_token_sum', 'constant']
KNOWN = 'token_mean, seq_mean_token_mean, seq_mean_token_sum and constant'


def totals(mask: ArrayLike) -> tuple[Array, Array]:
  """Live tokens and rows with at least one, of [B, T]; sums over parts of a batch are the whole's."""
  live = jnp.asarray(mask) > 0
  return live.sum().astype(jnp.float32), live.any(-1).sum().astype(jnp.float32)


def token_weights(
  mask: ArrayLike,
  kind: Kind = 'token_mean',
  *,
  constant: float = 1.0,
  totals: tuple[ArrayLike, ArrayLike] | None = None,
) -> Array:
  """Weight of every token in the batch's loss.

  Args:
    mask: [B, T], 1 on sampled tokens of scorable rows.
    kind: `token_mean` (DAPO, arXiv 2503.14476 eq. 8) 1/Σm; `seq_mean_token_mean` (GRPO, GSPO) 1/(B·T_i);
      `seq_mean_token_sum` 1/B; `constant` (Dr.GRPO, arXiv 2503.20783) 1/(B·constant). B counts rows with at
      least one live token.
    constant: the length of `constant`.
    totals: live tokens and live rows of the whole batch, where `mask` is a part of it; see `totals`.

  Returns:
    [B, T] float32, 0 where masked; all 0 if nothing is live.

  Raises:
    ValueError: the kind's name is unknown.
  """
  mask = jnp.asarray(mask)
  mask = (mask > 0).astype(jnp.float64 if mask.dtype == jnp.float64 else jnp.float32)
  length = mask.sum(-1, keepdims=True)
  tokens, rows = (mask.sum(), (length > 0).sum()) if totals is None else totals
  tokens, rows = (jnp.maximum(jnp.asarray(x).astype(mask.dtype), 1.0) for x in (tokens, rows))
  if kind == 'token_mean':
    return mask / tokens
  if kind == 'seq_mean_token_mean':
    return mask / (rows * jnp.maximum(length, 1.0))
  if kind == 'seq_mean_token_sum':
    return mask / rows
  if kind == 'constant':
    return mask / (rows * constant)
  raise ValueError(f'Unknown aggregation {kind!r}; known are {KNOWN}.')


def row_weights(weights: Array, kind: Kind = 'token_mean', *, constant: float = 1.0) -> Array:
  """What share of a batch a row is, for losses per row: its share of the tokens under `token_mean`, else 1/B.

  Args:
    weights: [B, T], as `token_weights` gives them.
    kind: with which they were made.
    constant: likewise.

  Returns:
    [B]; over a whole batch they add up to 1, or to 0 if nothing is live.
  """
  if kind in ('token_mean', 'seq_mean_token_mean'):
    return weights.sum(-1)
  return weights.max(-1) * (constant if kind == 'constant' else 1.0)
