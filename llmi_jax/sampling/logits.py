"""From logits to a token, without a sort: temperature sampling is an argmax over Gumbel-perturbed logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

MASKED = -1e30


class Sampling(NamedTuple):
  """Static choices of a sampler.

  Attributes:
    temperature: divides logits; 0 is greedy.
  """

  temperature: float = 1.0


class Draw(NamedTuple):
  """One token per row.

  Attributes:
    token: [B] int32.
    logp_sampled: [B], under the sampling distribution (greedy: at temperature 1).
    logp_full: [B], at temperature 1 over the full vocabulary.
  """

  token: Array
  logp_sampled: Array
  logp_full: Array


def draw(logits: Array, keys: Array, positions: Array, banned: Array, sampling: Sampling) -> Draw:
  """Samples one token per row.

  Args:
    logits: [B, V] float32.
    keys: [B] row keys.
    positions: [B] index of the token in its response; folded into the key.
    banned: [V] bool, never drawn.
    sampling: static choices.
  """
  full = jax.nn.log_softmax(logits, -1)
  allowed = jnp.where(banned[None], MASKED, logits)
  if sampling.temperature == 0:
    token = jnp.argmax(allowed, -1)
    own = jax.nn.log_softmax(allowed, -1)
  else:
    own = jax.nn.log_softmax(allowed / sampling.temperature, -1)
    token_keys = jax.vmap(jax.random.fold_in)(keys, positions)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:]))(token_keys)
    token = jnp.argmax(own + noise, -1)

  def pick(logp):
    return jnp.take_along_axis(logp, token[:, None], -1)[:, 0]

  return Draw(token.astype(jnp.int32), pick(own), pick(full))
