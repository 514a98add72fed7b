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
    kv: a tuple of `KV` over layers, or one `KV` with stacked layers: [P, K, S, H] per layer.
    length: [P] int32, live slots.
  """

  kv: Any
  length: Array


class Suffix(NamedTuple):
  """What each row wrote itself.

  Attributes:
    kv: a tuple over layers of [B, K, S, H].
    clock: scalar int32, steps so far; this step writes slot `clock % S`.
    age: [B] int32, tokens of the row's response that are already stored.
  """

  kv: tuple[KV, ...]
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


def write(kv: KV, k: Array, v: Array, clock: Array) -> KV:
  """Stores one token per row (k, v: [B, K, 1, H]) at the ring's present slot."""
  at = (0, 0, clock % kv.k.shape[2], 0)
  return KV(
    jax.lax.dynamic_update_slice(kv.k, k.astype(kv.k.dtype), at),
    jax.lax.dynamic_update_slice(kv.v, v.astype(kv.v.dtype), at),
  )


def live(clock: Array, age: Array, slots: int) -> Array:
  """[B, S] bool: slots that a row may read in this step, the one being written included."""
  behind = jnp.mod(clock - jnp.arange(slots), slots)
  return behind[None, :] <= age[:, None]
