"""From logits to a token, without a sort: sampling is an argmax over Gumbel-perturbed logits.

top-k and top-p keep what lies above a threshold, found by bisection over the bits of a float: 32 passes that
find it exactly. Tokens that tie with the threshold are kept.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from llmi_jax.core.errors import ConfigError

MASKED = -1e30
SIGN = np.uint32(1 << 31)


class Sampling(NamedTuple):
  """Static choices of a sampler, applied in this order.

  Attributes:
    temperature: divides logits; 0 is greedy.
    top_k: how many of the likeliest tokens are kept; 0 keeps all.
    top_p: the smallest set of likeliest tokens with at least this probability is kept; 1 keeps all.
    min_p: tokens below this share of the likeliest one's probability go; 0 keeps all.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  min_p: float = 0.0

  @property
  def cuts(self) -> bool:
    """Whether likely tokens alone are drawn, so that a trainer would see another distribution."""
    return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0


def check(sampling: Sampling) -> Sampling:
  """The same, refused where a value makes no sense.

  Raises:
    ConfigError: names it.
  """
  bounds = {
    'temperature': sampling.temperature >= 0,
    'top_k': sampling.top_k >= 0,
    'top_p': 0 < sampling.top_p <= 1,
    'min_p': 0 <= sampling.min_p <= 1,
  }
  for name, good in bounds.items():
    if not good:
      raise ConfigError(f'sampler.{name} is {getattr(sampling, name)}; see its meaning for what it may be.')
  return sampling


class Draw(NamedTuple):
  """One token per row.

  Attributes:
    token: [B] int32.
    logp_sampled: [B], under the sampling distribution (greedy: at temperature 1).
    logp_full: [B], at temperature 1 over the full vocabulary.
    sound: [B] bool, whether the logits are numbers.
  """

  token: Array
  logp_sampled: Array
  logp_full: Array
  sound: Array


def draw(logits: Array, keys: Array, positions: Array, banned: Array, sampling: Sampling) -> Draw:
  """Samples one token per row.

  Args:
    logits: [B, V] float32.
    keys: [B] row keys.
    positions: [B] index of the token in its response; folded into the key.
    banned: [V] bool, never drawn.
    sampling: static choices.
  """
  allowed = jnp.where(banned[None], MASKED, logits)
  if sampling.temperature == 0:
    own, token = allowed, jnp.argmax(allowed, -1)
  else:
    own = keep(allowed / sampling.temperature, sampling)
    token_keys = jax.vmap(jax.random.fold_in)(keys, positions)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:]))(token_keys)
    token = jnp.argmax(own + noise, -1)

  def logp(values: Array) -> Array:
    picked = jnp.take_along_axis(values, token[:, None], -1)[:, 0]
    return picked - jax.nn.logsumexp(values, -1)

  sound = jnp.isfinite(jnp.max(logits, -1)) & ~jnp.isnan(jnp.sum(logits, -1))
  return Draw(token.astype(jnp.int32), logp(own), logp(logits), sound)


def keep(logits: Array, sampling: Sampling) -> Array:
  """[B, V] logits with what is not kept masked."""
  if 0 < sampling.top_k < logits.shape[-1]:
    above = lambda bound: jnp.sum(logits >= bound, -1) >= sampling.top_k
    logits = _mask(logits, _largest(logits, above))
  if sampling.top_p < 1.0:
    weight = jnp.exp(logits - jnp.max(logits, -1, keepdims=True))
    wanted = sampling.top_p * jnp.sum(weight, -1)
    enough = lambda bound: jnp.sum(jnp.where(logits >= bound, weight, 0.0), -1) >= wanted
    logits = _mask(logits, _largest(logits, enough))
  if sampling.min_p > 0.0:
    logits = _mask(logits, jnp.max(logits, -1, keepdims=True) + np.log(sampling.min_p))
  return logits


def _mask(logits: Array, bound: Array) -> Array:
  return jnp.where(logits >= bound, logits, MASKED)


def _largest(logits: Array, holds) -> Array:
  """[B, 1], per row the largest float for which `holds` is true; it is true for all lower ones.

  Floats in the order of their size are integers: their bits, turned over where they are negative.
  """

  def to_float(bits: Array) -> Array:
    raw = jnp.where(bits >= SIGN, bits ^ SIGN, ~bits)
    return jax.lax.bitcast_convert_type(raw, jnp.float32)[:, None]

  def narrow(i: Array, found: Array) -> Array:
    # Beyond infinity lies what is no number: it is above nothing, so `holds` is false there.
    tried = found | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
    return jnp.where(holds(to_float(tried)), tried, found)

  return to_float(jax.lax.fori_loop(0, 32, narrow, jnp.zeros(logits.shape[0], jnp.uint32)))
