"""The jitted programs of an engine; each leaves the state where it found it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from llmi_jax import compilation
from llmi_jax.sampling import loop
from llmi_jax.sampling.places import Places
from llmi_jax.sampling.settings import EngineConfig
from llmi_jax.sampling.state import Model, Sizes, start


class Programs(NamedTuple):
  """Jitted functions; see `loop` and `state.start`.

  Attributes:
    prefill: (params, state, chunk, features, first=…) → state; donates the state.
    decode: (params, state, banned, stops, quota) → state, emitted, steps; donates the state.
    begin: (state, beginning) → state; donates the state.
    drop: (state, rows) → state; likewise.
    extend: (state, prompts) → state.
    move: (state, move) → state.
    widen: (state, slots) → state.
    resize: (state, slots) → state.
    start: () → state.
  """

  prefill: Callable[..., Any]
  decode: Callable[..., Any]
  begin: Callable[..., Any]
  drop: Callable[..., Any]
  extend: Callable[..., Any]
  move: Callable[..., Any]
  widen: Callable[..., Any]
  resize: Callable[..., Any]
  start: Callable[..., Any]


def programs(model: Model, config: EngineConfig, places: Places) -> Programs:
  """Those of an engine; compiles nothing yet."""
  state = places.state()
  jit = partial(compilation.jit, sized=True)
  same: dict[str, Any] = {} if state is None else {'out_shardings': state}
  ended: dict[str, Any] = {}
  if state is not None:
    ended = {'out_shardings': (state, places.emitted(), places.whole())}
  first = partial(config.bucket, 1)
  sizes = Sizes(config.shards, config.first_prompts, config.rows, config.samples, config.width, config.dtype)
  decode = partial(loop.decode, model, steps=config.chunk, sampling=config.sampling)
  begun = partial(start, model, sizes, first(config.prompt_slots), first(config.response_slots))
  return Programs(
    jit('prefill', partial(loop.prefill, model), donate_argnums=1, static_argnames='first', **same),
    jit('decode', decode, donate_argnums=1, **ended),
    jit('begin', loop.begin, donate_argnums=0, **same),
    jit('drop', loop.drop, donate_argnums=0, **same),
    jit('extend', loop.extend, static_argnums=1, **same),
    jit('move', loop.move, **same),
    jit('widen', partial(loop.widen, model), static_argnums=1, **same),
    jit('resize', partial(loop.resize, model), static_argnums=1, **same),
    jit('start', begun, **same),
  )
