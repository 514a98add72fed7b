"""Generation's device programs: a policy's functions for the engine, and the view that it reads."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from llmi_jax import compilation
from llmi_jax.core.errors import ConfigError
from llmi_jax.models import decoder, grouped, lora
from llmi_jax.models.attention import Rows as SharedRows
from llmi_jax.models.cache import SLOTS, Cache, Prefix, Suffix, empty
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.sharding import Layout, shardings
from llmi_jax.sampling.places import Places
from llmi_jax.sampling.settings import EngineConfig
from llmi_jax.sampling.state import Model


def places(layout: Layout | None) -> Places:
  """Where generation's arrays live under a layout."""
  if layout is None:
    return Places()
  assert isinstance(layout.mesh, Mesh)
  return Places(layout.mesh, layout.axes('batch'), layout.axes('kv_heads'))


def sampler(
  config: DecoderConfig,
  sizes: EngineConfig,
  *,
  experts: grouped.Kind = 'blocks',
  layout: Layout | None = None,
) -> Model:
  """The functions that generation calls; parameters are a decode view.

  `layout` has the mesh and rules such as `models.sharding.ROLLOUT`; None is one device.

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
  options = {'config': config, 'experts': experts, 'layout': layout}

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
    dtype = sizes.cache or sizes.dtype
    return tuple(empty(rows, config.kv_heads, slots, config.head_dim, dtype) for _ in range(config.layers))

  see = partial(decoder.see, config=config) if config.vision is not None else None
  return Model(prefill, decode, decoder.unembed, storage, (SLOTS,) * config.layers, see)


def viewer(
  fixed: Any = None, *, dtype: Any = None, config: DecoderConfig | None = None, layout: Layout | None = None
) -> Callable[[Any], decoder.View]:
  """From what is trained to what generates.

  Args:
    fixed: what is not trained, as `models.lora.split` returns it; on the same mesh.
    dtype: of the view; None leaves that of the parameters.
    config: the policy's shape; needed with a layout.
    layout: where the view lives; parameters come from wherever they are on the same mesh. None is one device.
  """

  made: list[Callable[..., decoder.View]] = []

  def viewed(params):
    if not made:
      made.append(make_view(params, fixed, dtype, config, layout))
    return made[0](params, fixed)

  return viewed


def make_view(
  params: Any, fixed: Any, dtype: Any, config: DecoderConfig | None, layout: Layout | None
) -> Any:
  """The jitted (params, fixed) → view."""

  def view(params, fixed):
    return decoder.decode_view(lora.join(params, fixed), dtype)

  if layout is None:
    return compilation.jit('view', view)
  assert config is not None
  where = shardings(jax.eval_shape(view, params, fixed), layout, config)
  return compilation.jit('view', view, out_shardings=where)
