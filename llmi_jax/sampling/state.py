"""What generation carries from program to program, and what is handed to it.

Rows and prompts are cut into J shards of a mesh's data axes; a row reads a prompt of its own shard.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Model(NamedTuple):
  """The functions of a policy; `sampling/` knows no other side of it.

  Keys and values are opaque trees whose leaves are [X, heads, …] with slots on one of two further axes.

  Attributes:
    prefill: (params, tokens [G, W], positions, lengths [G], before, vision) → (hidden [G, W, D], kv);
      `before` is None or (kv, length [G]), what earlier chunks of the same prompts left.
    decode: (params, token [B], position [B], prefix kv, prefix length [P], table [J, P/J, R], place [J, B/J],
      suffix kv, clock, age [B]) → (hidden [B, D], suffix kv).
    unembed: (params, hidden [B, D]) → [B, V] float32 logits.
    storage: (rows, slots) → kv with zeros, as both prefixes and suffixes are kept.
    slots: tree as kv, the axis of each leaf's slots.
    see: (params, pictures) → features [F, D]; None for a policy that only reads.
  """

  prefill: Callable[..., tuple[Array, Any]]
  decode: Callable[..., tuple[Array, Any]]
  unembed: Callable[..., Array]
  storage: Callable[[int, int], Any]
  slots: Any
  see: Callable[..., Array] | None = None


def slots(kv: Any, axes: Any) -> int:
  """How many slots keys and values have; `axes` as in `Model.slots`."""
  return jax.tree.leaves(kv)[0].shape[jax.tree.leaves(axes)[0]]


class Prompts(NamedTuple):
  """What is kept of prompts; P entries.

  Attributes:
    kv: leaves of P prompts.
    length: [P] int32, live slots.
    hidden: [P, D], the state of the last token, which predicts a response's first.
    position: [P] int32, of that first token.
  """

  kv: Any
  length: Array
  hidden: Array
  position: Array


class Rows(NamedTuple):
  """Responses under way; B rows.

  Attributes:
    kv: leaves of B rows, a ring.
    clock: scalar int32, steps so far; a step writes slot `clock % slots`.
    age: [B] int32, tokens stored.
    hidden: [B, D], what predicts the next token.
    position: [B] int32, the next token's, in the whole sequence.
    limit: [B] int32, most tokens in the response.
    alive: [B] bool.
    keys: [B, 2] uint32, data of the row keys.
    table: [J, P/J, R] int32, the rows of each prompt, -1 where there are fewer.
    place: [J, B/J] int32, where each row stands in its shard's flattened table.
  """

  kv: Any
  clock: Array
  age: Array
  hidden: Array
  position: Array
  limit: Array
  alive: Array
  keys: Array
  table: Array
  place: Array


class State(NamedTuple):
  """Everything that generation carries."""

  prompts: Prompts
  rows: Rows


class Emitted(NamedTuple):
  """Tokens of one chunk: [steps, B] each; only where `live` is true were they sampled."""

  token: Array
  logp_sampled: Array
  logp_full: Array
  live: Array
  sound: Array


class Sizes(NamedTuple):
  """Of a state.

  Attributes:
    shards: J.
    prompts: P.
    rows: B.
    samples: R, most rows of one prompt at a time.
    width: D.
    dtype: of hidden states.
  """

  shards: int
  prompts: int
  rows: int
  samples: int
  width: int
  dtype: Any


def start(model: Model, sizes: Sizes, prompt_slots: int, row_slots: int) -> State:
  """A state in which nothing is alive."""
  zeros = partial(jnp.zeros, dtype=jnp.int32)
  prompts = Prompts(
    model.storage(sizes.prompts, prompt_slots),
    zeros(sizes.prompts),
    jnp.zeros((sizes.prompts, sizes.width), sizes.dtype),
    zeros(sizes.prompts),
  )
  shards, rows = sizes.shards, sizes.rows
  return State(
    prompts,
    Rows(
      model.storage(rows, row_slots),
      zeros(()),
      zeros(rows),
      jnp.zeros((rows, sizes.width), sizes.dtype),
      zeros(rows),
      zeros(rows),
      jnp.zeros(rows, bool),
      jnp.zeros((rows, 2), jnp.uint32),
      jnp.full((shards, sizes.prompts // shards, sizes.samples), -1, jnp.int32),
      zeros((shards, rows // shards)),
    ),
  )


class Chunk(NamedTuple):
  """A piece of G prompts of one shard's length bucket, the G/J of each shard behind one another.

  Attributes:
    tokens: [G, W] int32.
    positions: [G, W] int32, or [3, G, W].
    start: [G] int32, tokens of the prompt that earlier chunks held; a multiple of the chunk width.
    length: [G] int32, live tokens of this chunk.
    entry: [G] int32, where the prompt is kept, counted within the shard.
    next: [G] int32, position of a response's first token.
    rows: [G, W] int32, an image token's row of the features, else -1; None without pictures.
  """

  tokens: Any
  positions: Any
  start: Any
  length: Any
  entry: Any
  next: Any
  rows: Any = None


class Move(NamedTuple):
  """Rows and prompts in new places: where each comes from, counted within its shard; -1 for one that is idle.

  Attributes:
    rows: [J, B'/J] int32.
    entries: [J, P'/J] int32.
    table: [J, P'/J, R'] int32, of all rows from now on.
    place: [J, B'/J] int32, likewise.
  """

  rows: Any
  entries: Any
  table: Any
  place: Any


class Beginning(NamedTuple):
  """Rows that begin: [B] each.

  Attributes:
    fresh: bool.
    entry: int32, the row's prompt, counted within the shard.
    limit: int32, most tokens.
    keys: [B, 2] uint32.
    table: [J, P/J, R] int32, of all rows from now on.
    place: [J, B/J] int32, likewise.
  """

  fresh: Any
  entry: Any
  limit: Any
  keys: Any
  table: Any
  place: Any
