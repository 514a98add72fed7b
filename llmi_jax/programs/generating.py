"""Generation's programs as records: lowered for shapes, without weights and without their devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from llmi_jax.models import grouped
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.sharding import Layout, shardings
from llmi_jax.models.vision_layout import Pictures
from llmi_jax.programs import generation
from llmi_jax.programs.program import Program
from llmi_jax.sampling import programs as engines
from llmi_jax.sampling.settings import EngineConfig
from llmi_jax.sampling.state import Chunk, Model, Prompts, Rows, Sizes, State, start


@dataclasses.dataclass(frozen=True)
class Reach:
  """For which sizes generation's programs are told.

  Attributes:
    prompts: slots of prompts.
    responses: slots of the ring, ascending; a decoding program for each.
    picture: slots of the one picture in a prompt; 0 for none.
  """

  prompts: int
  responses: tuple[int, ...]
  picture: int = 0


def programs(
  config: DecoderConfig,
  sizes: EngineConfig,
  reach: Reach,
  *,
  params: Any,
  fixed: Any = None,
  experts: grouped.Kind = 'blocks',
  layout: Layout | None = None,
) -> tuple[Program, ...]:
  """The programs that an engine runs, as records.

  How long a decoding program goes on is told by the rows: its figures are those of one token per row.

  Args:
    config: the policy's shape.
    sizes: of the engine, of all processes together.
    reach: sizes that grow while an engine works.
    params: what is trained, or its shapes, placed as the learner has them.
    fixed: the rest, likewise.
    experts: how experts are multiplied.
    layout: mesh and rules of generation; None on one device.
  """
  model = generation.sampler(config, sizes, experts=experts, layout=layout)
  run = engines.programs(model, sizes, generation.places(layout))
  make = generation.make_view(params, fixed, sizes.dtype, config, layout)
  view = jax.eval_shape(make, params, fixed)
  if layout is not None:
    view = jax.tree.map(_at, view, shardings(view, layout, config))
  state = {slots: _state(model, sizes, reach.prompts, slots, layout) for slots in reach.responses}
  most = reach.responses[-1]
  made = [Program('view', make, (params, fixed))]
  features = None
  if reach.picture and config.vision is not None and model.see is not None:
    shown = _pictures(config, reach.picture, layout)
    features = _array(layout, (reach.picture // config.vision.merge**2, config.width), sizes.dtype)
    made.append(Program('see', jax.jit(model.see), (view, shown)))
  for first in (True, False) if reach.prompts > sizes.most_width else (True,):
    chunk = _chunk(sizes, first, features is not None, layout)
    arguments, name = (view, state[most], chunk, features), 'first' if first else 'later'
    made.append(Program(f'prefill {name}', run.prefill, arguments, (1,), options={'first': first}))
  banned = _array(layout, (sizes.vocab,), jnp.bool_)
  stops, quota = _array(layout, (len(sizes.stops),)), _array(layout, ())
  for slots in reach.responses:
    made.append(Program(f'decode {slots}', run.decode, (view, state[slots], banned, stops, quota), (1,)))
  if most > sizes.first_bucket:
    smaller = _state(model, sizes, reach.prompts, sizes.bucket(most // 2, most), layout)
    made.append(Program('resize', run.resize, (smaller, most)))
  return tuple(made)


def _state(model: Model, sizes: EngineConfig, prompts: int, responses: int, layout: Layout | None) -> State:
  """Shapes of an engine's state at its most prompts."""
  own = Sizes(sizes.shards, sizes.most_prompts, sizes.rows, sizes.samples, sizes.width, sizes.dtype)
  found = jax.eval_shape(lambda: start(model, own, prompts, responses))
  where = generation.places(layout).state()
  if where is None:
    return found

  def kept(tree: Any, at: Any) -> Any:
    return jax.tree.map(lambda leaf: _at(leaf, at), tree)

  prompt, row = found.prompts, found.rows
  return State(
    Prompts(kept(prompt.kv, where.prompts.kv), *map(_at, prompt[1:], where.prompts[1:])),
    Rows(kept(row.kv, where.rows.kv), *map(_at, row[1:], where.rows[1:])),
  )


def _chunk(sizes: EngineConfig, first: bool, sees: bool, layout: Layout | None) -> Chunk:
  """The largest piece of prompts that goes together: see `sampling.prefill.together`."""
  count = sizes.shards * (sizes.prompts_together if first and not sees else 1)
  tokens = _array(layout, (count, sizes.most_width), jnp.int32, 'batch')
  each = _array(layout, (count,), jnp.int32, 'batch')
  if not sees:
    return Chunk(tokens, tokens, each, each, each, each)
  positions = _array(layout, (3, count, sizes.most_width), jnp.int32, None, 'batch')
  return Chunk(tokens, positions, each, each, each, each, tokens)


def _pictures(config: DecoderConfig, slots: int, layout: Layout | None) -> Pictures:
  """One picture, which every device sees."""
  assert config.vision is not None
  return Pictures(
    _array(layout, (1, slots, config.vision.patch_width), jnp.float32),
    _array(layout, (1, slots), jnp.bool_),
    _array(layout, (1, slots, 2)),
  )


def _array(
  layout: Layout | None, shape: tuple[int, ...], dtype: Any = jnp.int32, *axes: str | None
) -> jax.ShapeDtypeStruct:
  """A shape, its first axes placed by name, the rest whole."""
  where = None if layout is None else layout.sharding((*axes, *[None] * (len(shape) - len(axes))))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=where)


def _at(leaf: Any, where: Any) -> Any:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
