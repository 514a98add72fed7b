"""Key/value storage in two parts: a prefix per group, read once for all its rows, and a suffix per row.

The suffix is a ring with one clock for all rows: at every decode step each row writes its key and value
at slot `clock % S`, whatever its own length, so that a step is one slice update and no scatter. A row of
age a owns the a slots behind the clock. Keys are stored rotated, so a slot's place says nothing about a
token's position.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class KV(NamedTuple):
  """Keys and values: [B, K, S, H] each; [L, B, K, S, H] when layers are stacked."""

  k: Array
  v: Array


class Prefix(NamedTuple):
  """What the rows of a group share.

  Attributes:
    kv: in the model's form: a tuple over a view's layers, or over spans of tuples over their patterns of `KV`
      with stacked layers; [P, K, S, H] per layer.
    length: [P] int32, live slots.
  """

  kv: Any
  length: Array


class Suffix(NamedTuple):
  """What each row wrote itself.

  Attributes:
    kv: in the model's form, as a prefix's; [B, K, S, H] per layer.
    clock: scalar int32, steps so far; this step writes slot `clock % S`.
    age: [B] int32, tokens of the row's response that are already stored.
  """

  kv: Any
  clock: Array
  age: Array


class Cache(NamedTuple):
  """A prefix, and the suffix when decoding. Rows of group p are p·R … p·R + R − 1."""

  prefix: Prefix
  suffix: Suffix | None = None


def empty_suffix(layers: int, rows: int, kv_heads: int, slots: int, head_dim: int, dtype) -> Suffix:
  """A suffix with nothing in it."""

  def zeros():
    return jnp.zeros((rows, kv_heads, slots, head_dim), dtype)

  kv = tuple(KV(zeros(), zeros()) for _ in range(layers))
  return Suffix(kv, jnp.zeros((), jnp.int32), jnp.zeros((rows,), jnp.int32))


def write(kv: KV, new: KV, *, clock: Array, layer: Array | None = None) -> tuple[KV, KV]:
  """Stores one token per row (`new`: [B, K, 1, H]) at the ring's present slot.

  Args:
    kv: of one layer, or of stacked layers.
    new: what to store.
    clock: steps so far.
    layer: which of the stacked layers.

  Returns:
    The layer's keys and values as attention reads them, and all that is carried on.
  """

  def put(old: Array, one: Array) -> Array:
    at = (0, 0, clock % old.shape[-2], 0)
    one = one.astype(old.dtype)
    return jax.lax.dynamic_update_slice(
      old, one if layer is None else one[None], at if layer is None else (layer, *at)
    )

  kept = jax.tree.map(put, kv, new)
  if layer is None:
    return kept, kept
  read = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, layer, 0, keepdims=False), kept)
  return read, kept


def behind(clock: Array, slots: int) -> Array:
  """[S]: how many steps ago each slot was written; 0 for the one written in this step.

  A row of age a may read the slots up to a steps behind.
  """
  return jnp.mod(clock - jnp.arange(slots), slots)
