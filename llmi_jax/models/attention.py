"""Grouped-query attention over one or several key/value parts.

Parts are merged exactly by their log-sum-exp, which equals one softmax over their concatenation. Softmax
runs in float32 or wider.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.models.linear import wide

# Finite, so that a row without any live key stays finite (0·∞ would poison gradients).
MASKED = -1e30
# Logits of a layer that a device holds at once: a gibibyte in float32. A row of 24,576 tokens and 32 heads
# would have 72 of them.
HELD = 1 << 28


class Rows(NamedTuple):
  """Which batch rows read which of X sets of keys, where rows of a set are no neighbours.

  Rows and sets are cut into J shards; a row reads a set of its own shard, so nothing crosses devices.

  Attributes:
    table: [J, X/J, R] int32, the rows of each set, counted within the shard; -1 where there are fewer.
    place: [J, B/J] int32, where each row stands in its shard's flattened table.
  """

  table: Array
  place: Array

  def gather(self, x: Array) -> Array:
    """[B, ...] → [X·R, ...], rows of a set behind one another."""
    shards = self.table.shape[0]
    index = jnp.maximum(self.table.reshape(shards, -1), 0)
    found = jax.vmap(lambda own, i: own[i])(x.reshape(shards, -1, *x.shape[1:]), index)
    return found.reshape(-1, *x.shape[1:])

  def scatter(self, x: Array) -> Array:
    """[X·R, ...] → [B, ...], each row's own."""
    shards = self.table.shape[0]
    found = jax.vmap(lambda own, i: own[i])(x.reshape(shards, -1, *x.shape[1:]), self.place)
    return found.reshape(-1, *x.shape[1:])


class Part(NamedTuple):
  """Keys and values that queries read.

  Attributes:
    k: [X, K, H, S]; its dtype is that of the products.
    v: [X, K, S, H].
    mask: bool, broadcastable to [X, R, T, S], R rows per set.
    rows: which rows read which set; None where rows are X groups of B/X neighbours.
  """

  k: Array
  v: Array
  mask: Array
  rows: Rows | None = None


def attend(q: Array, parts: Sequence[Part]) -> Array:
  """Softmax attention.

  Args:
    q: [B, N, T, H].
    parts: what to read; see `Part`.

  Returns:
    [B, N, T, H] in q's dtype.
  """
  reads = [_read(q, part) for part in parts]
  if len(reads) == 1:
    out, _, total = reads[0]
    return (out / total[..., None]).astype(q.dtype)
  top = jnp.max(jnp.stack([top for _, top, _ in reads]), 0)
  shares = [jnp.exp(own - top) for _, own, _ in reads]
  total = sum(share * own for share, (_, _, own) in zip(shares, reads))
  out = sum(share[..., None] * own for share, (own, _, _) in zip(shares, reads))
  return jnp.divide(out, jnp.expand_dims(total, -1)).astype(q.dtype)


def in_stretches(read: Callable[[Array, Array, Any], Array], q: Array, kept: Any, size: int) -> Array:
  """Attention by stretches of queries, so that logits of one are held at a time, backwards too.

  Args:
    read: (q [B, N, C, H], their places [C], `kept`) → [B, N, C, H].
    q: [B, N, T, H].
    kept: tree of keys and values.
    size: C; see `stretch`. All queries are read at once if it is T or more.
  """
  t = q.shape[2]
  if size >= t:
    return read(q, jnp.arange(t), kept)
  pieces = -(-t // size)
  padded = jnp.pad(q, ((0, 0), (0, 0), (0, pieces * size - t), (0, 0)))
  padded = jnp.moveaxis(padded.reshape(*q.shape[:2], pieces, size, q.shape[3]), 2, 0)
  # Gradients of keys and values add up over stretches, which must not happen in bf16.
  held = jax.tree.map(lambda x: x.astype(wide(x.dtype)), kept)

  def one(inputs: tuple[Array, Array]) -> Array:
    return read(*inputs, jax.tree.map(lambda x, like: x.astype(like.dtype), held, kept))

  places = jnp.arange(pieces * size).reshape(pieces, size)
  out = jnp.moveaxis(jax.lax.map(jax.checkpoint(one), (padded, places)), 0, 2)
  return out.reshape(*q.shape[:2], pieces * size, q.shape[3])[:, :, :t]


def stretch(rows: int, heads: int, keys: int, most: int = HELD) -> int:
  """Queries of a stretch: a power of two, 8 or more, of which a device holds about `most` logits.

  Args:
    rows: on a device.
    heads: on a device.
    keys: that a query reads.
    most: logits.
  """
  wanted = max(8, most // max(1, rows * heads * keys))
  return 1 << (wanted.bit_length() - 1)


def _read(q: Array, part: Part) -> tuple[Array, ...]:
  """One part's unnormalised output [B, N, T, H], largest logit and sum of exponentials [B, N, T].

  Queries that read the same keys become one matrix: [B, N, T, H] → [X, K, R·G·T, H].
  """
  if part.rows is not None:
    read = _read(part.rows.gather(q), part._replace(rows=None))
    return tuple(part.rows.scatter(x) for x in read)
  b, n, t, h = q.shape
  groups, kv_heads, slots, _ = part.v.shape
  rows, heads = b // groups, n // kv_heads
  folded = q.reshape(groups, rows, kv_heads, heads, t, h).transpose(0, 2, 1, 3, 4, 5)
  folded = folded.reshape(groups, kv_heads, rows * heads * t, h).astype(part.k.dtype)
  logits = jnp.einsum('XKTH,XKHS->XKTS', folded, part.k, preferred_element_type=wide(q.dtype))
  logits = logits.reshape(groups, kv_heads, rows, heads, t, slots) * h**-0.5
  logits = jnp.where(part.mask[:, None, :, None], logits, MASKED)
  # The maximum only guards against overflow; its gradient cancels.
  top = jax.lax.stop_gradient(logits.max(-1))
  weight = jnp.exp(logits - top[..., None])
  total = weight.sum(-1)
  weight = weight.reshape(groups, kv_heads, rows * heads * t, slots).astype(part.v.dtype)
  out = jnp.einsum('XKTS,XKSH->XKTH', weight, part.v, preferred_element_type=wide(q.dtype))

  def unfold(x):
    return x.transpose(0, 2, 1, 3, 4, *range(5, x.ndim)).reshape(b, n, t, *x.shape[5:])

  out = out.reshape(groups, kv_heads, rows, heads, t, h)
  return unfold(out), unfold(top), unfold(total)
