"""The device programs of generation: prefill prompts once per group, insert them, decode in chunks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.sampling.logits import Sampling, draw


class Model(NamedTuple):
  """The functions of a policy; `sampling/` knows no other side of it.

  Attributes:
    prefill: (params, tokens [P, T], lengths [P]) → (hidden of each prompt's last token [P, D], prefix).
    decode: (params, token [B], positions [B], prefix, suffix) → (hidden [B, D], suffix).
    unembed: (params, hidden [B, D]) → [B, V] float32 logits.
    empty: () → (prefix, suffix) with nothing in them.
  """

  prefill: Callable[..., tuple[Array, Any]]
  decode: Callable[..., tuple[Array, Any]]
  unembed: Callable[..., Array]
  empty: Callable[[], tuple[Any, Any]]


class State(NamedTuple):
  """Everything that decoding carries; donated from program to program. Rows of group p are neighbours.

  Attributes:
    prefix: keys and values of prompts, per group.
    suffix: keys and values of responses, per row.
    hidden: [B, D], what predicts the next token.
    position: [B] int32, the next token's position in the whole sequence.
    offset: [B] int32, the next token's index in its response.
    limit: [B] int32, most tokens in the response.
    alive: [B] bool.
    keys: [B] row keys.
  """

  prefix: Any
  suffix: Any
  hidden: Array
  position: Array
  offset: Array
  limit: Array
  alive: Array
  keys: Array


class Emitted(NamedTuple):
  """Tokens of one chunk: [steps, B] each; only where `live` is true were they sampled."""

  token: Array
  logp_sampled: Array
  logp_full: Array
  live: Array


def start(model: Model, rows: int, width: int, dtype: Any) -> State:
  """A state in which no row is alive."""
  prefix, suffix = model.empty()
  zeros = jnp.zeros((rows,), jnp.int32)
  keys = jax.random.split(jax.random.key(0, impl='threefry2x32'), rows)
  hidden = jnp.zeros((rows, width), dtype)
  return State(prefix, suffix, hidden, zeros, zeros, zeros, zeros > 0, keys)


def insert(
  model: Model,
  params: Any,
  state: State,
  tokens: Array,
  lengths: Array,
  fresh: Array,
  limit: Array,
  keys: Array,
) -> State:
  """Prefills prompts and lets the rows of fresh groups begin.

  Args:
    model: functions.
    params: of the policy.
    state: donated.
    tokens: [P, T] int32; rows of groups that are not fresh hold padding.
    lengths: [P] int32.
    fresh: [P] bool, groups to replace.
    limit: [B] int32, most tokens per fresh row; 0 leaves it empty.
    keys: [B] row keys of fresh rows.
  """
  hidden, prefix = model.prefill(params, tokens, lengths)
  each = state.alive.shape[0] // tokens.shape[0]
  rows = jnp.repeat(fresh, each)

  def choose(which, new, old):
    return jnp.where(jnp.expand_dims(which, range(1, old.ndim)), new, old)

  merge, take = partial(choose, fresh), partial(choose, rows)

  return State(
    prefix=jax.tree.map(merge, prefix, state.prefix),
    suffix=state.suffix._replace(age=take(0, state.suffix.age)),
    hidden=take(jnp.repeat(hidden, each, 0), state.hidden),
    position=take(jnp.repeat(lengths, each), state.position),
    offset=take(0, state.offset),
    limit=take(limit, state.limit),
    alive=take(limit > 0, state.alive),
    keys=jax.random.wrap_key_data(
      take(jax.random.key_data(keys), jax.random.key_data(state.keys)), impl='threefry2x32'
    ),
  )


def decode(
  model: Model, params: Any, state: State, banned: Array, stops: Array, steps: int, sampling: Sampling
) -> tuple[State, Emitted, Array]:
  """Decodes up to `steps` tokens per row, fewer if every row ends before.

  Args:
    model: functions.
    params: of the policy.
    state: donated.
    banned: [V] bool.
    stops: [n] int32, tokens that end a response.
    steps: static.
    sampling: static.

  Returns:
    The state, what was emitted, and how many steps ran.
  """
  rows = state.alive.shape[0]
  blank = Emitted(
    jnp.zeros((steps, rows), jnp.int32),
    jnp.zeros((steps, rows)),
    jnp.zeros((steps, rows)),
    jnp.zeros((steps, rows), bool),
  )

  def unfinished(carry):
    state, _, step = carry
    return (step < steps) & state.alive.any()

  def body(carry):
    state, emitted, step = carry
    drawn = draw(model.unembed(params, state.hidden), state.keys, state.offset, banned, sampling)
    row = Emitted(drawn.token, drawn.logp_sampled, drawn.logp_full, state.alive)
    emitted = jax.tree.map(lambda all_, one: all_.at[step].set(one), emitted, row)
    hidden, suffix = model.decode(params, drawn.token, state.position, state.prefix, state.suffix)
    ended = (drawn.token[:, None] == stops[None]).any(-1) | (state.offset + 1 >= state.limit)
    state = state._replace(
      suffix=suffix,
      hidden=hidden,
      position=state.position + 1,
      offset=state.offset + 1,
      alive=state.alive & ~ended,
    )
    return state, emitted, step + 1

  return jax.lax.while_loop(unfinished, body, (state, blank, jnp.zeros((), jnp.int32)))
