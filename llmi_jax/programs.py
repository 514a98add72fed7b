"""What every device program is made of: a policy's functions, bound to its config and sizes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import decoder, grouped, lora
from llmi_jax.models.attention import Rows as SharedRows
from llmi_jax.models.cache import KV, Cache, Prefix, Suffix
from llmi_jax.models.config import DecoderConfig
from llmi_jax.rl.loss import Surrogate
from llmi_jax.sampling import loop
from llmi_jax.sampling.engine import EngineConfig
from llmi_jax.update import Optimizer, Policy, Rows, TrainState, empty, finish, make_add


def _positions(rows: int, length: int) -> Array:
  return jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (rows, length))


def sampler(config: DecoderConfig, sizes: EngineConfig, *, experts: grouped.Kind = 'blocks') -> loop.Model:
  """The functions that generation calls; parameters are a decode view.

  Raises:
    ConfigError: the longest sequences would stretch `dynamic` rotary angles, so that what is cached would no
      longer be what a whole pass computes.
  """
  longest = sizes.prompt_slots + sizes.response_slots
  if config.rope.kind == 'dynamic' and longest > config.rope.original:
    raise ConfigError(
      f'Sequences of {longest} tokens are longer than the {config.rope.original} that dynamic rotary scaling '
      'leaves as they are; use yarn, or shorter prompts and responses.'
    )
  options = {'config': config, 'experts': experts}

  def prefill(view, tokens, positions, lengths, before, vision):
    cache = None if before is None else Cache(Prefix(*before))
    seen = None if vision is None else decoder.Vision(*vision)
    hidden, kv, _ = decoder.forward(view, tokens, positions, lengths, cache, seen, **options)
    return hidden, kv

  def decode(view, token, position, prompt_kv, prompt_length, table, place, kv, clock, age):
    cache = Cache(Prefix(prompt_kv, prompt_length, SharedRows(table, place)), Suffix(kv, clock, age))
    hidden, suffix, _ = decoder.forward(
      view, token[:, None], position[:, None], jnp.ones_like(token), cache, **options
    )
    return hidden[:, 0], suffix.kv

  def storage(rows, slots):
    shape = (rows, config.kv_heads, slots, config.head_dim)
    return tuple(
      KV(jnp.zeros(shape, sizes.dtype), jnp.zeros(shape, sizes.dtype)) for _ in range(config.layers)
    )

  see = partial(decoder.see, config=config) if config.vision is not None else None
  return loop.Model(prefill, decode, decoder.unembed, storage, see)


def viewer(fixed: Any = None) -> Callable[[Any], decoder.View]:
  """From what is trained to what generates; `fixed` is the rest, as `models.lora.split` returns it."""
  program = jax.jit(lambda params, fixed: decoder.decode_view(lora.join(params, fixed)))
  return lambda params: program(params, fixed)


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
