"""A decoder over rows of the learner: responses behind prompts, with pictures, in either of two forms."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from llmi_jax.models import decoder
from llmi_jax.models.cache import Cache, Prefix
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Vision
from llmi_jax.models.sharding import Layout, constrain
from llmi_jax.update.loss import Response
from llmi_jax.update.rows import Rows, Seen


def respond(
  model: Any, rows: Rows, choices: Any, config: DecoderConfig, share: bool, options: dict[str, Any]
) -> Response:
  """Runs the decoder over rows.

  Args:
    model: parameters, stacked.
    rows: a micro-batch.
    choices: experts to use, as an earlier `Response` of the same form has them; or None.
    config: the policy's shape.
    share: whether a prompt is run once for all its responses.
    options: further ones of `decoder.forward`.
  """
  remat, layout = options['remat'], options['layout']
  vision = None if rows.seen is None else _vision(model, rows.seen, config, remat, layout)
  run = _shared if share else _whole
  return run(model, rows, vision, choices, {'config': config, **options})


def _vision(
  model: Any, seen: Seen, config: DecoderConfig, remat: decoder.Remat, layout: Layout | None
) -> Vision:
  """The tower over all pictures of a micro-batch, bucket by bucket."""
  features = [decoder.see(model, one, config=config, remat=remat) for one in seen.pictures]
  # Any row may show any picture, so features lie everywhere.
  return Vision(constrain(jnp.concatenate(features), layout, None, None), seen.rows)


def _shared(model: Any, rows: Rows, vision: Vision | None, choices: Any, options: dict[str, Any]) -> Response:
  """Prompts once, and each response behind its own."""
  groups, (count, width) = rows.prompt.shape[0], rows.tokens.shape
  first, second = (None, None) if choices is None else choices
  before, kv, asked = decoder.forward(
    model, rows.prompt, _prompt_positions(rows), rows.prompt_len, None, vision, choices=first, **options
  )
  last = jnp.take_along_axis(before, (rows.prompt_len - 1)[:, None, None], 1)
  start = _each(rows.prompt_len, count)
  positions = start[:, None] + _index(count, width)
  if rows.seen is not None:
    positions = positions + _each(rows.seen.delta, count)[:, None]
  cache = Cache(Prefix(kv, rows.prompt_len))
  hidden, _, answered = decoder.forward(
    model, rows.tokens, positions, rows.length, cache, choices=second, **options
  )
  # The state before a token predicts it; the prompt's last state predicts the first.
  states = jnp.concatenate([_each(last, count), hidden[:, :-1]], 1)
  if not asked:
    return Response(states)
  # A row's tokens are its prompt's and its own.
  both = [
    jnp.repeat(asked[name], count // groups, 1) + answered[name]
    for name in ('router_chosen', 'router_probability')
  ]
  return Response(states, both[0], both[1], (asked['router_choice'], answered['router_choice']))


def _whole(model: Any, rows: Rows, vision: Vision | None, choices: Any, options: dict[str, Any]) -> Response:
  """Every row with its prompt in front."""
  count, width = rows.tokens.shape
  start, total = _each(rows.prompt_len, count), rows.prompt.shape[1] + width
  index = _index(count, total)
  inside = index < start[:, None]

  def joined(prompts: Array, responses: Array) -> Array:
    """[P, Tp] and [P·R, Tr] → [P·R, Tp + Tr], each response right behind its prompt."""
    front = jnp.pad(_each(prompts, count), ((0, 0), (0, width)))
    behind = jnp.take_along_axis(responses, jnp.clip(index - start[:, None], 0, width - 1), 1)
    return jnp.where(inside, front, behind)

  positions, seen = index, None
  if rows.seen is not None and vision is not None:
    after = index + _each(rows.seen.delta, count)[:, None]
    front = jnp.pad(_each(rows.seen.positions, count), ((0, 0), (0, 0), (0, width)))
    positions = jnp.where(inside[:, None], front, after[:, None]).transpose(1, 0, 2)
    seen = vision._replace(rows=joined(vision.rows, jnp.full_like(rows.tokens, -1)))
  hidden, _, routed = decoder.forward(
    model,
    joined(rows.prompt, rows.tokens),
    positions,
    start + rows.length,
    None,
    seen,
    choices=choices,
    **options,
  )
  at = jnp.clip(start[:, None] - 1 + _index(count, width), 0, total - 1)
  states = jnp.take_along_axis(hidden, at[..., None], 1)
  if not routed:
    return Response(states)
  return Response(states, routed['router_chosen'], routed['router_probability'], routed['router_choice'])


def _prompt_positions(rows: Rows) -> Array:
  """[P, Tp], or [3, P, Tp] where prompts hold pictures."""
  return _index(*rows.prompt.shape) if rows.seen is None else rows.seen.positions.transpose(1, 0, 2)


def _index(rows: int, length: int) -> Array:
  return jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (rows, length))


def _each(x: Array, count: int) -> Array:
  """[P, ...] → [P·R, ...], each prompt's for all its rows."""
  groups = x.shape[0]
  spread = jnp.broadcast_to(x[:, None], (groups, count // groups, *x.shape[1:]))
  return spread.reshape(count, *x.shape[1:])
