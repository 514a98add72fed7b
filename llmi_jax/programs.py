"""What every device program is made of: a policy's functions, bound to its config and sizes."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from llmi_jax.models import cache as caches
from llmi_jax.models import decoder
from llmi_jax.models.cache import KV, Cache, Prefix
from llmi_jax.models.config import DecoderConfig
from llmi_jax.rl.loss import Surrogate
from llmi_jax.sampling import loop
from llmi_jax.sampling.engine import EngineConfig
from llmi_jax.update import Optimizer, Policy, Rows, TrainState, empty, finish, make_add


def _positions(rows: int, length: int) -> Array:
  return jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (rows, length))


def sampler(config: DecoderConfig, sizes: EngineConfig) -> loop.Model:
  """The functions that generation calls; parameters are a decode view."""

  def prefill(view, tokens, lengths):
    positions = _positions(*tokens.shape)
    hidden, kv, _ = decoder.forward(view, tokens, positions, lengths, config=config)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], 1)[:, 0]
    return last, Prefix(kv, lengths)

  def decode(view, token, position, prefix, suffix):
    cache = Cache(prefix, suffix)
    hidden, suffix, _ = decoder.forward(
      view, token[:, None], position[:, None], jnp.ones_like(token), cache, config=config
    )
    return hidden[:, 0], suffix

  def empty():
    shape = (sizes.groups, config.kv_heads, sizes.prompt_slots, config.head_dim)
    kv = tuple(KV(jnp.zeros(shape, sizes.dtype), jnp.zeros(shape, sizes.dtype)) for _ in range(config.layers))
    prefix = Prefix(kv, jnp.ones((sizes.groups,), jnp.int32))
    rows = sizes.groups * sizes.samples
    return prefix, caches.empty_suffix(
      config.layers, rows, config.kv_heads, sizes.response_slots, config.head_dim, sizes.dtype
    )

  return loop.Model(prefill, decode, decoder.unembed, empty)


def learner(config: DecoderConfig, *, unroll: int | bool = 1, remat: decoder.Remat = 'none') -> Policy:
  """The functions that an update calls; parameters are stacked."""

  def respond(model, prompt, prompt_len, tokens, length):
    groups, (rows, width) = prompt.shape[0], tokens.shape
    options = {'config': config, 'unroll': unroll, 'remat': remat}
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
  policy: Policy, optimizer: Optimizer, surrogate: Surrogate, *, temperature: float, banned: np.ndarray
) -> Callable[[TrainState, Sequence[tuple[Rows, np.ndarray]]], tuple[TrainState, dict[str, Array]]]:
  """A whole training step over micro-batches and their tokens' weights; the state is donated."""
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
      sums = add(state.params, sums, rows, weights)
    return end(state, sums, live=jnp.asarray(sum(float(rows.mask.sum()) for rows, _ in pieces)))

  return update
