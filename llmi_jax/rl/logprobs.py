"""Log-probabilities of given tokens from hidden states, without ever holding [tokens, V] at once.

Forward and backward run over chunks of tokens. What is kept between them is one number or two per token;
logits are computed again, unless all of them fit into one chunk. Sums over the vocabulary and the table's
gradient are float32 (or wider), products of matrices have the states' dtype: a float32 cotangent beside bf16
states would make them several times slower.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

MASKED = -1e30


class Head(NamedTuple):
  """Static choices.

  Attributes:
    temperature: divides logits, as in the sampler.
    chunk: tokens whose logits are held at once.
    entropy_gradient: whether a gradient flows through the entropy.
    place: [B, C, V] logits → the same, placed on a mesh; vocabularies that are cut over one need no more.
    remat: whether one chunk's logits are computed again too.
  """

  temperature: float = 1.0
  chunk: int = 4096
  entropy_gradient: bool = False
  place: Callable[[Array], Array] = lambda logits: logits
  remat: bool = False


def token_logprobs(
  hidden: Array, targets: Array, table: Array, head: Head = Head(), banned: Array | None = None
) -> tuple[Array, Array]:
  """Log-probability and entropy at every token.

  Args:
    hidden: [B, T, D]; the state that predicts `targets`.
    targets: [B, T] int32.
    table: [D, V], the unembedding; cast to the states' dtype.
    head: static choices.
    banned: [V] bool, tokens that the sampler never draws.

  Returns:
    logp [B, T] and entropy [B, T], in nats, float32 or wider.
  """
  banned = jnp.zeros(table.shape[1], bool) if banned is None else jnp.asarray(banned)
  found: Any = _whole(hidden, table, targets, banned, head)
  logp, entropy = found
  return logp, entropy if head.entropy_gradient else jax.lax.stop_gradient(entropy)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _whole(hidden: Array, table: Array, targets: Array, banned: Array, head: Head) -> tuple[Array, Array]:
  return _forward(hidden, table, targets, banned, head)[0]


def _forward(hidden, table, targets, banned, head: Head):
  span = _span(targets, head)

  def piece(states, ids):
    logits = _logits(states, table, banned, head)
    norm = jax.nn.logsumexp(logits, -1)
    # A masked sum, not a gather: on a vocabulary that is cut it adds up, and its gradient is no scatter.
    picked = jnp.sum(jnp.where(_hot(ids, logits), logits, 0), -1)
    expected = jnp.sum(jnp.exp(logits - norm[..., None]) * logits, -1)
    return (picked - norm, norm, expected), logits

  if span >= targets.shape[1]:
    (logp, norm, expected), logits = piece(hidden, targets)
    kept = None if head.remat else logits
  else:
    pieces = (_cut(hidden, span), _cut(targets, span))
    found = jax.lax.map(lambda xs: piece(*xs)[0], pieces)
    logp, norm, expected = (_glue(x, targets.shape[1]) for x in found)
    kept = None
  return (logp, norm - expected), (hidden, table, targets, banned, norm, expected, kept)


def _backward(head: Head, residuals: Any, cotangents: tuple[Array, Array]):
  hidden, table, targets, banned, norm, expected, kept = residuals
  weight = table.astype(hidden.dtype)

  def piece(states, ids, norm, expected, towards_logp, towards_entropy, logits=None):
    """The chunk's part of both gradients; dp_v/dz of logp is 1[v = id] − p_v, of entropy p_v·(E[z] − z_v)."""
    logits = _logits(states, table, banned, head) if logits is None else logits
    p = jnp.exp(logits - norm[..., None])
    slope = jnp.where(_hot(ids, logits), towards_logp[..., None], 0) - towards_logp[..., None] * p
    if head.entropy_gradient:
      slope = slope + towards_entropy[..., None] * p * (expected[..., None] - logits)
    slope = head.place((slope / head.temperature).astype(states.dtype))
    back = jnp.einsum('BTV,DV->BTD', slope, weight, preferred_element_type=norm.dtype)
    return back.astype(states.dtype), _outer(states, slope, norm.dtype)

  span, length = _span(targets, head), targets.shape[1]
  inputs = (hidden, targets, norm, expected, *cotangents)
  if span >= length:
    back, grad = piece(*inputs, kept)
  else:

    def step(total, xs):
      back, grad = piece(*xs)
      return total + grad, back

    start = jnp.zeros(table.shape, norm.dtype)
    grad, back = jax.lax.scan(step, start, tuple(_cut(x, span) for x in inputs))
    back = _glue(back, length)
  return back, grad.astype(table.dtype), None, None


_whole.defvjp(_forward, _backward)


def _logits(states: Array, table: Array, banned: Array, head: Head) -> Array:
  """[B, C, V] scores over the temperature, float32 or wider."""
  wide = jnp.float64 if states.dtype == jnp.float64 else jnp.float32
  made = jnp.einsum('BTD,DV->BTV', states, table.astype(states.dtype), preferred_element_type=wide)
  made = head.place(made) / head.temperature
  return jnp.where(banned[None, None], MASKED, made)


def _outer(states: Array, slope: Array, dtype: Any) -> Array:
  """[D, V], the sum over tokens of states times slopes."""

  def product(states, slope):
    return jnp.einsum('BTD,BTV->DV', states, slope, preferred_element_type=dtype)

  def upcast(states, slope):
    return product(states.astype(dtype), slope.astype(dtype))

  # XLA on CPU cannot run every product of bf16 matrices into float32 (jax 0.10.2).
  return jax.lax.platform_dependent(states, slope, cpu=upcast, default=product)


def _hot(ids: Array, logits: Array) -> Array:
  return ids[..., None] == jnp.arange(logits.shape[-1])[None, None]


def _span(targets: Array, head: Head) -> int:
  """Tokens of each row in a chunk: chunks run over time, so that rows stay where a mesh has put them."""
  rows, length = targets.shape
  pieces = -(-length // max(1, head.chunk // rows))
  return -(-length // pieces)


def _cut(x: Array, span: int) -> Array:
  """[B, T, ...] → [T / span, B, span, ...], padded with zeros."""
  rows, length = x.shape[:2]
  pieces = -(-length // span)
  x = jnp.pad(x, ((0, 0), (0, pieces * span - length), *[(0, 0)] * (x.ndim - 2)))
  return jnp.moveaxis(x.reshape(rows, pieces, span, *x.shape[2:]), 1, 0)


def _glue(x: Array, length: int) -> Array:
  """The inverse of `_cut`."""
  x = jnp.moveaxis(x, 0, 1)
  return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]
