"""The device programs of generation: prefill a group's prompt once, begin its rows, decode in chunks.

Every state is donated from program to program, so that keys and values exist once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.sampling.logits import Sampling, draw
from llmi_jax.sampling.state import Beginning, Chunk, Emitted, Model, Move, Prompts, State
from llmi_jax.sampling.state import slots as kept_slots


def _per_shard(one: Callable[..., Array], shards: int) -> Callable[..., Array]:
  """Maps over shards; without a mesh a plain slice update stays one, where `vmap` would make it a scatter."""
  if shards > 1:
    return jax.vmap(one)
  return lambda *args: one(*(arg[0] for arg in args))[None]


def _write(kept: Array, new: Array, entry: Array, start: Array, real: Array, *, axis: int) -> Array:
  """Within a shard: `new` of G prompts into `kept` of P, each at its entry from its start on along `axis`."""
  for i in range(new.shape[0]):
    at = (entry[i], *(start[i] if j == axis else 0 for j in range(1, 4)))
    one = new[i : i + 1]
    one = jnp.where(real[i], one, jax.lax.dynamic_slice(kept, at, one.shape))
    kept = jax.lax.dynamic_update_slice(kept, one, at)
  return kept


def prefill(
  model: Model, params: Any, state: State, chunk: Chunk, features: Array | None, *, first: bool
) -> State:
  """Runs a chunk of prompts and keeps what it leaves.

  Args:
    model: functions.
    params: of the policy.
    state: donated.
    chunk: what has length 0 fills up and leaves nothing.
    features: of pictures in these prompts.
    first: whether these are the prompts' first chunks, with nothing before them.
  """
  prompts, shards = state.prompts, state.rows.table.shape[0]

  def split(x: Array) -> Array:
    return x.reshape(shards, -1, *x.shape[1:])

  entry = split(chunk.entry)

  def pick(kept: Array) -> Array:
    found = jax.vmap(lambda own, i: own[i])(split(kept), entry)
    return found.reshape(-1, *kept.shape[1:])

  real = jnp.asarray(chunk.length) > 0

  def put(kept: Array, new: Array) -> Array:
    # What fills up may name an entry that is another's; it goes nowhere.
    index = jnp.where(split(real), entry, split(kept).shape[1])
    stored = jax.vmap(lambda own, i, one: own.at[i].set(one, mode='drop'))(split(kept), index, split(new))
    return stored.reshape(kept.shape)

  before = None if first else (jax.tree.map(pick, prompts.kv), chunk.start)
  vision = None if features is None else (features, chunk.rows)
  hidden, kv = model.prefill(params, chunk.tokens, chunk.positions, chunk.length, before, vision)
  last = jnp.take_along_axis(hidden, jnp.maximum(chunk.length - 1, 0)[:, None, None], 1)[:, 0]

  def store(kept: Array, new: Array, axis: int) -> Array:
    """Writes each prompt's new slots behind its old ones."""
    filled = _per_shard(partial(_write, axis=axis), shards)(
      split(kept), split(new.astype(kept.dtype)), entry, split(chunk.start), split(real)
    )
    return filled.reshape(kept.shape)

  return state._replace(
    prompts=Prompts(
      jax.tree.map(store, prompts.kv, kv, model.slots),
      put(prompts.length, chunk.start + chunk.length),
      put(prompts.hidden, last.astype(prompts.hidden.dtype)),
      put(prompts.position, chunk.next),
    )
  )


def begin(state: State, beginning: Beginning) -> State:
  """Lets rows begin behind prompts that are kept; the state is donated."""
  prompts, rows = state.prompts, state.rows
  shards = rows.table.shape[0]

  def pick(kept: Array) -> Array:
    split = kept.reshape(shards, -1, *kept.shape[1:])
    found = jax.vmap(lambda own, i: own[i])(split, jnp.reshape(beginning.entry, (shards, -1)))
    return found.reshape(-1, *kept.shape[1:])

  def choose(new: Array, old: Array) -> Array:
    return jnp.where(jnp.expand_dims(beginning.fresh, range(1, old.ndim)), new, old)

  return state._replace(
    rows=rows._replace(
      age=choose(jnp.zeros_like(rows.age), rows.age),
      hidden=choose(pick(prompts.hidden), rows.hidden),
      position=choose(pick(prompts.position), rows.position),
      limit=choose(beginning.limit, rows.limit),
      alive=choose(beginning.limit > 0, rows.alive),
      keys=choose(beginning.keys, rows.keys),
      table=jnp.asarray(beginning.table),
      place=jnp.asarray(beginning.place),
    )
  )


def drop(state: State, rows: Array) -> State:
  """Ends rows ([B] bool) at once; the state is donated."""
  return state._replace(rows=state.rows._replace(alive=state.rows.alive & ~rows))


def _padded(kept: Array, slots: int, axis: int) -> Array:
  return jnp.pad(kept, [(0, slots - kept.shape[axis] if i == axis else 0) for i in range(kept.ndim)])


def widen(model: Model, state: State, slots: int) -> State:
  """Gives prompts more slots."""
  kv = jax.tree.map(lambda kept, axis: _padded(kept, slots, axis), state.prompts.kv, model.slots)
  return state._replace(prompts=state.prompts._replace(kv=kv))


def extend(state: State, prompts: int) -> State:
  """Keeps more prompts: P becomes `prompts`, new entries of each shard behind its old ones."""
  shards, old, _ = state.rows.table.shape

  def pad(kept: Array, fill: int = 0) -> Array:
    split = kept.reshape(shards, old, *kept.shape[1:])
    more = [(0, 0), (0, prompts // shards - old), *[(0, 0)] * (kept.ndim - 1)]
    return jnp.pad(split, more, constant_values=fill).reshape(-1, *kept.shape[1:])

  table = jnp.pad(state.rows.table, ((0, 0), (0, prompts // shards - old), (0, 0)), constant_values=-1)
  return State(jax.tree.map(pad, state.prompts), state.rows._replace(table=table))


def move(state: State, to: Move) -> State:
  """Rows and prompts that are still wanted in a state of another size; see `slots.Slots.move`."""
  rows, shards = state.rows, state.rows.table.shape[0]

  def taken(tree: Any, source: Array) -> Any:
    # What is idle takes whatever is first.
    index = jnp.maximum(source, 0)

    def take(kept: Array) -> Array:
      split = kept.reshape(shards, -1, *kept.shape[1:])
      return jax.vmap(lambda own, i: own[i])(split, index).reshape(-1, *kept.shape[1:])

    return jax.tree.map(take, tree)

  moved = taken(rows._replace(clock=None, table=None, place=None), jnp.asarray(to.rows))
  alive = moved.alive & (jnp.ravel(to.rows) >= 0)
  table, place = jnp.asarray(to.table), jnp.asarray(to.place)
  return State(
    taken(state.prompts, jnp.asarray(to.entries)),
    moved._replace(clock=rows.clock, alive=alive, table=table, place=place),
  )


def resize(model: Model, state: State, slots: int) -> State:
  """Gives the ring more or fewer slots; the youngest stay, oldest first, and the clock stands behind them."""
  rows = state.rows
  old = kept_slots(rows.kv, model.slots)
  count = min(old, slots)
  # Slot i of the new ring was written `count - i` steps before the present one.
  source = jnp.mod(rows.clock - count + jnp.arange(count), old)

  def turn(kept: Array, axis: int) -> Array:
    return _padded(jnp.take(kept, source, axis=axis), slots, axis)

  kv = jax.tree.map(turn, rows.kv, model.slots)
  return state._replace(rows=rows._replace(kv=kv, clock=jnp.full((), count, jnp.int32)))


def decode(
  model: Model,
  params: Any,
  state: State,
  banned: Array,
  stops: Array,
  quota: Array,
  *,
  steps: int,
  sampling: Sampling,
) -> tuple[State, Emitted, Array]:
  """Decodes up to `steps` tokens per row, fewer once `quota` rows or all have ended.

  Args:
    model: functions.
    params: of the policy.
    state: donated.
    banned: [V] bool.
    stops: [n] int32, tokens that end a response.
    quota: scalar int32; so many endings are worth a look of the host, which has others waiting.
    steps: static.
    sampling: static.

  Returns:
    The state, what was emitted, and how many steps ran.
  """
  prompts, count = state.prompts, state.rows.alive.shape[0]
  blank = Emitted(
    jnp.zeros((steps, count), jnp.int32),
    jnp.zeros((steps, count)),
    jnp.zeros((steps, count)),
    jnp.zeros((steps, count), bool),
    jnp.ones((steps, count), bool),
  )
  at_first = jnp.sum(state.rows.alive)

  def unfinished(carry):
    rows, _, step = carry
    living = jnp.sum(rows.alive)
    return (step < steps) & (living > 0) & (at_first - living < quota)

  def body(carry):
    rows, emitted, step = carry
    keys = jax.random.wrap_key_data(rows.keys, impl='threefry2x32')
    drawn = draw(model.unembed(params, rows.hidden), keys, rows.age, banned, sampling)
    one = Emitted(drawn.token, drawn.logp_sampled, drawn.logp_full, rows.alive, drawn.sound)
    emitted = jax.tree.map(lambda all_, new: all_.at[step].set(new), emitted, one)
    hidden, kv = model.decode(
      params,
      drawn.token,
      rows.position,
      prompts.kv,
      prompts.length,
      rows.table,
      rows.place,
      rows.kv,
      rows.clock,
      rows.age,
    )
    ended = (drawn.token[:, None] == stops[None]).any(-1) | (rows.age + 1 >= rows.limit)
    rows = rows._replace(
      kv=kv,
      clock=rows.clock + 1,
      age=rows.age + 1,
      hidden=hidden.astype(rows.hidden.dtype),
      position=rows.position + 1,
      alive=rows.alive & ~ended,
    )
    return rows, emitted, step + 1

  rows, emitted, ran = jax.lax.while_loop(unfinished, body, (state.rows, blank, jnp.zeros((), jnp.int32)))
  return State(prompts, rows), emitted, ran
