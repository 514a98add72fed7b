"""Key/value storage in two parts: a prefix per group, read once for all its rows, and a suffix per row.

The suffix is a ring with one clock for all rows: at every decode step each row writes its key and value
at slot `clock % S`, whatever its own length, so that a step is one slice update and no scatter. A row of
age a owns the a slots behind the clock. Keys are stored rotated, so a slot's place says nothing about a
token's position, and with slots last, as products with queries want them: turned at every step, they cost
ten times as much on CPU.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.models.attention import Rows


class KV(NamedTuple):
  """Keys and values; an axis [L] before the others when layers are stacked.

  Attributes:
    k: [B, K, H, S].
    v: [B, K, S, H].
  """

  k: Any
  v: Any

  @property
  def slots(self) -> int:
    """S."""
    return self.v.shape[-2]


SLOTS = KV(3, 2)  # their axis, of one layer


class Prefix(NamedTuple):
  """What the rows of a group share.

  Attributes:
    kv: in the model's form: a tuple over a view's layers, or over spans of tuples over their patterns of `KV`
      with stacked layers; of P groups per layer.
    length: [P] int32, live slots.
    rows: which rows read which prefix; None where rows of group p are p·R … p·R + R − 1.
  """

  kv: Any
  length: Array
  rows: Rows | None = None


class Suffix(NamedTuple):
  """What each row wrote itself.

  Attributes:
    kv: in the model's form, as a prefix's; of B rows per layer.
    clock: scalar int32, steps so far; this step writes slot `clock % S`.
    age: [B] int32, tokens of the row's response that are already stored.
  """

  kv: Any
  clock: Array
  age: Array


class Cache(NamedTuple):
  """A prefix, and the suffix when decoding."""

  prefix: Prefix
  suffix: Suffix | None = None


def of(k: Array, v: Array) -> KV:
  """Of keys and values as they are computed: [B, K, S, H] each."""
  return KV(k.swapaxes(-1, -2), v)


def slots(kv: Any) -> int:
  """S of all layers' keys and values in the model's form."""
  return jax.tree.leaves(kv, is_leaf=lambda node: isinstance(node, KV))[0].slots


def empty(rows: int, kv_heads: int, slots: int, head_dim: int, dtype: Any) -> KV:
  """A layer's keys and values, all zero."""
  k = jnp.zeros((rows, kv_heads, head_dim, slots), dtype)
  return KV(k, jnp.zeros((rows, kv_heads, slots, head_dim), dtype))


def empty_suffix(layers: int, rows: int, kv_heads: int, slots: int, head_dim: int, dtype) -> Suffix:
  """A suffix with nothing in it."""

  kv = tuple(empty(rows, kv_heads, slots, head_dim, dtype) for _ in range(layers))
  return Suffix(kv, jnp.zeros((), jnp.int32), jnp.zeros((rows,), jnp.int32))


def write(kv: KV, new: KV, *, clock: Array, layer: Array | None = None) -> tuple[KV, KV]:
  """Stores one token per row (`new`, of one slot) at the ring's present slot.

  Args:
    kv: of one layer, or of stacked layers.
    new: what to store.
    clock: steps so far.
    layer: which of the stacked layers.

  Returns:
    The layer's keys and values as attention reads them, and all that is carried on.
  """

  now = clock % kv.slots

  def put(old: Array, one: Array, axis: int) -> Array:
    at = tuple(now if i == axis else 0 for i in range(4))
    one = one.astype(old.dtype)
    return jax.lax.dynamic_update_slice(
      old, one if layer is None else one[None], at if layer is None else (layer, *at)
    )

  kept = jax.tree.map(put, kv, new, SLOTS)
  if layer is None:
    return kept, kept
  read = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, layer, 0, keepdims=False), kept)
  return read, kept


def behind(clock: Array, slots: int) -> Array:
  """[S]: how many steps ago each slot was written; 0 for the one written in this step.

  A row of age a may read the slots up to a steps behind.
  """
  return jnp.mod(clock - jnp.arange(slots), slots)
