"""The learner's device programs: a policy's functions for the update, and the whole training step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from llmi_jax.models import decoder, grouped
from llmi_jax.models.cache import Cache, Prefix
from llmi_jax.models.config import DecoderConfig
from llmi_jax.rl.loss import Surrogate
from llmi_jax.update import Optimizer, Policy, Rows, TrainState, empty, finish, make_add


def _positions(rows: int, length: int) -> Array:
  return jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (rows, length))


def learner(
  config: DecoderConfig,
  *,
  unroll: int | bool = 1,
  remat: decoder.Remat = 'none',
  experts: grouped.Kind = 'blocks',
) -> Policy:
  """The functions that an update calls; parameters are stacked."""

  def respond(model, prompt, prompt_len, tokens, length):
    groups, (rows, width) = prompt.shape[0], tokens.shape
    options = {'config': config, 'unroll': unroll, 'remat': remat, 'experts': experts}
    before, kv, _ = decoder.forward(model, prompt, _positions(*prompt.shape), prompt_len, **options)
    first = jnp.take_along_axis(before, (prompt_len - 1)[:, None, None], 1)
    start = jnp.repeat(prompt_len, rows // groups)
    positions = start[:, None] + _positions(rows, width)
    cache = Cache(Prefix(kv, prompt_len))
    hidden, _, _ = decoder.forward(model, tokens, positions, length, cache, **options)
    # The state before a token predicts it; the prompt's last state predicts the first.
    return jnp.concatenate([jnp.repeat(first, rows // groups, 0), hidden[:, :-1]], 1)

  return Policy(respond, decoder.unembed)


def updater(
  policy: Policy,
  optimizer: Optimizer,
  surrogate: Surrogate,
  *,
  temperature: float,
  banned: np.ndarray,
  fixed: Any = None,
) -> Callable[[TrainState, Sequence[tuple[Rows, np.ndarray]]], tuple[TrainState, dict[str, Array]]]:
  """A whole training step over micro-batches and their tokens' weights; the state is donated.

  `fixed` is what is not trained, as `models.lora.split` returns it.
  """
  add = jax.jit(
    make_add(policy, surrogate, temperature=temperature, banned=jnp.asarray(banned)), donate_argnums=1
  )
  end = jax.jit(partial(finish, optimizer=optimizer), donate_argnums=0)
  start = jax.jit(empty)

  def update(
    state: TrainState, pieces: Sequence[tuple[Rows, np.ndarray]]
  ) -> tuple[TrainState, dict[str, Array]]:
    sums = start(state.params)
    for rows, weights in pieces:
      sums = add(state.params, sums, rows, weights, fixed)
    return end(state, sums, live=jnp.asarray(sum(float(rows.mask.sum()) for rows, _ in pieces)))

  return update
