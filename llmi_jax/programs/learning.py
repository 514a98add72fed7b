"""The learner's device programs: a policy's functions for the update, and the whole training step."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from llmi_jax import offload
from llmi_jax.compilation import jit
from llmi_jax.core.errors import ConfigError
from llmi_jax.models import decoder, grouped, sharding
from llmi_jax.models.config import DecoderConfig, VisionConfig
from llmi_jax.models.sharding import Layout, constrain
from llmi_jax.models.vision_layout import Pictures
from llmi_jax.programs import responding
from llmi_jax.programs.program import Program
from llmi_jax.sampling.engine import Span, untimed
from llmi_jax.sampling.logits import Sampling
from llmi_jax.update import state as states
from llmi_jax.update.loss import Goal, Policy, Response
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.rows import Micro, Rows, Seen
from llmi_jax.update.state import TrainState
from llmi_jax.update.step import empty, finish, make_add, make_look, summary

Update = Callable[..., tuple[TrainState, dict[str, Array]]]  # (state, micros, span)


def check_sampling(sampling: Sampling) -> None:
  """Refuses to train on samples of another distribution than the learner computes.

  Raises:
    ConfigError: the sampler keeps likely tokens only, or always takes the likeliest.
  """
  if sampling.cuts:
    raise ConfigError(
      'The sampler keeps likely tokens only (top_k, top_p or min_p), so that ratios would be wrong; '
      'train with top_k=0, top_p=1 and min_p=0.'
    )
  if sampling.temperature == 0:
    raise ConfigError('sampler.temperature is 0 and all samples would be equal; train with 1.')


def learner(
  config: DecoderConfig,
  *,
  unroll: int | bool = 1,
  remat: decoder.Remat = 'none',
  experts: grouped.Kind = 'blocks',
  layout: Layout | None = None,
  dtype: Any = None,
  share: bool = True,
) -> Policy:
  """The functions that an update calls; parameters are stacked.

  Args:
    config: the policy's shape.
    unroll: layers per scan iteration (True: all).
    remat: what the backward pass keeps; see `decoder.Remat`.
    experts: how experts are multiplied.
    layout: mesh and rules; None on one device.
    dtype: of computation; None is the parameters' own. Gradients have the parameters' dtype.
    share: whether a prompt is run once for all its responses; gradients are equal either way.
  """
  options = {'unroll': unroll, 'remat': remat, 'experts': experts, 'layout': layout}

  def cast(model: Any) -> Any:
    return model if dtype is None else jax.tree.map(lambda leaf: leaf.astype(dtype), model)

  def respond(model: Any, rows: Rows, choices: Any) -> Response:
    return responding.respond(cast(model), rows, choices, config, share, options)

  return Policy(
    respond,
    decoder.unembedding,
    config.experts.active if config.experts is not None else 0,
    lambda logits: constrain(logits, layout, 'batch', None, 'vocab'),
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
  """The jitted parts of a training step.

  Attributes:
    start: params → sums over nothing.
    look: see `update.step.make_look`.
    add: see `update.step.make_add`; donates the sums.
    end: (state, sums, last) → state, numbers; donates both.
  """

  start: Callable[..., Any]
  look: Callable[..., Any]
  add: Callable[..., Any]
  end: Callable[..., Any]


def steps(policy: Policy, optimizer: Optimizer, goal: Goal, state_shardings: TrainState | None) -> Steps:
  """The parts of a training step, their results placed as `state_shardings` says."""
  goal.check(policy)

  def held(tree: Any, wanted: Any) -> Any:
    return tree if state_shardings is None else jax.lax.with_sharding_constraint(tree, wanted)

  def placed(sums):
    return sums._replace(grads=held(sums.grads, state_shardings and state_shardings.params))

  more, look = make_add(policy, goal), make_look(policy, goal)

  def start(params):
    return placed(empty(params))

  def add(params, sums, rows, weights, fixed, reference, before):
    return placed(more(params, sums, rows, weights, fixed, reference, before))

  def end(state, sums, last):
    after, out = finish(state, sums, optimizer, last=last)
    return held(after, state_shardings), out

  return Steps(
    jit('start of an update', start),
    jit('log-probabilities', look),
    jit('gradients', add, donate_argnums=1),
    jit('optimizer', end, static_argnums=2, donate_argnums=0),
  )


def state_shardings(
  state: TrainState, config: DecoderConfig, optimizer: Optimizer, layout: Layout
) -> TrainState:
  """Where a state lies: parameters by the table of `models.sharding`, moments beside them.

  Args:
    state: a state, or its shapes.
    config: the policy's shape.
    optimizer: with which the state was made.
    layout: mesh and rules.

  Raises:
    ShardingError: an axis cannot be cut evenly.
  """
  params = sharding.shardings(state.params, layout, config)
  return states.placed(state, params, NamedSharding(layout.mesh, PartitionSpec()), optimizer)


def put(micro: Micro, layout: Layout | None) -> Micro:
  """A micro-batch on the devices; with several processes, each gives its own rows."""
  if layout is None:
    return micro

  def one(leaf: Any) -> Array:
    axes = ('batch', *[None] * (leaf.ndim - 1))
    return jax.make_array_from_process_local_data(layout.sharding(axes), np.asarray(leaf))

  return micro._replace(rows=jax.tree.map(one, micro.rows), weights=one(micro.weights))


def updater(
  policy: Policy,
  optimizer: Optimizer,
  goal: Goal,
  *,
  fixed: Any = None,
  reference: Any = None,
  config: DecoderConfig | None = None,
  layout: Layout | None = None,
) -> Update:
  """A whole training step over micro-batches; the state is donated.

  Where a step has several updates, log-probabilities before the first are computed for the rows of all
  others; for the first, and where there is but one, they are those of the policy that is updated.

  Args:
    policy: functions.
    optimizer: static choices.
    goal: static choices of the loss.
    fixed: what is not trained, as `models.lora.split` returns it.
    reference: the reference policy where a KL term asks for one and there are no adapters.
    config: the policy's shape; needed with a layout.
    layout: mesh and rules; None on one device. The state comes placed as `state_shardings` says.

  Raises:
    ConfigError: the policy has no experts and the goal asks for them.
  """
  made: list[Steps] = []
  if layout is not None:
    assert config is not None
    fixed, reference = (
      tree if tree is None else jax.device_put(tree, sharding.shardings(tree, layout, config))
      for tree in (fixed, reference)
    )
  goal.check(policy)

  def programs_for(state: TrainState) -> Steps:
    if not made:
      where = None
      if layout is not None and config is not None:
        where = state_shardings(state, config, optimizer, layout)
      made.append(steps(policy, optimizer, goal, where))
    return made[0]

  def update(
    state: TrainState, micros: Sequence[Micro], span: Span = untimed
  ) -> tuple[TrainState, dict[str, Array]]:
    own = programs_for(state)
    micros = [put(micro, layout) for micro in micros]
    with span('logp'):
      before = [own.look(state.params, m.rows, fixed) if m.update else None for m in micros]
      jax.block_until_ready(before)
    groups = [list(g) for _, g in itertools.groupby(zip(micros, before), lambda pair: pair[0].update)]
    outs = []
    for group in groups:
      sums = own.start(state.params)
      for micro, seen in group:
        sums = own.add(state.params, sums, micro.rows, micro.weights, fixed, reference, seen)
      if optimizer.offload:
        jax.block_until_ready(sums)  # what gradients needed is free before the moments come
      state, out = own.end(offload.near(state), sums, group is groups[-1])
      if optimizer.offload:
        state = state._replace(optimizer=offload.away(state.optimizer))
      outs.append(out)
    return state, summary(outs)

  return update


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Shapes of a step's micro-batches.

  Attributes:
    prompt: Tp.
    samples: R.
    groups: width → prompts of a micro-batch of this width, in all processes together.
    updates: per step.
    picture: slots of the one picture in every prompt; 0 for none.
    shards: a micro-batch's pictures are cut into.
  """

  prompt: int
  samples: int
  groups: tuple[tuple[int, int], ...]
  updates: int = 1
  picture: int = 0
  shards: int = 1


def programs(
  policy: Policy,
  config: DecoderConfig,
  optimizer: Optimizer,
  goal: Goal,
  sizes: Sizes,
  *,
  params: Any,
  fixed: Any = None,
  reference: Any = None,
  layout: Layout | None = None,
) -> tuple[Program, ...]:
  """The programs that `updater` runs, as records that can be lowered without weights.

  Args:
    policy: functions.
    config: the policy's shape.
    optimizer: static choices.
    goal: static choices of the loss.
    sizes: of micro-batches.
    params: what is trained, or its shapes.
    fixed: the rest, or its shapes.
    reference: likewise.
    layout: mesh and rules; None on one device.
  """
  state = jax.eval_shape(partial(states.fresh, optimizer=optimizer), params)
  where = None if layout is None else state_shardings(state, config, optimizer, layout)

  def abstract(tree: Any, shardings: Any) -> Any:
    if shardings is None:
      return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
    return jax.tree.map(
      lambda leaf, own: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=own), tree, shardings
    )

  def model(tree: Any) -> Any:
    found = None if tree is None or layout is None else sharding.shardings(tree, layout, config)
    return None if tree is None else abstract(tree, found)

  own = steps(policy, optimizer, goal, where)
  state = abstract(state, where)
  fixed, reference = model(fixed), model(reference)
  sums = jax.eval_shape(own.start, state.params)
  sums = sums._replace(grads=abstract(sums.grads, None if where is None else where.params))
  made = [Program('start', own.start, (state.params,), times=sizes.updates)]
  for width, groups in sizes.groups:
    rows, weights = _abstract_rows(sizes, width, groups, config, layout)
    before = None
    if sizes.updates > 1:
      looked = jax.eval_shape(own.look, state.params, rows, fixed)
      before = abstract(looked, None)
      made.append(Program(f'look {width}', own.look, (state.params, rows, fixed)))
    arguments = (state.params, sums, rows, weights, fixed, reference, before)
    made.append(Program(f'add {width}', own.add, arguments, donated=(1,)))
  return (*made, Program('end', own.end, (state, sums, True), donated=(0,), times=sizes.updates))


def _abstract_rows(
  sizes: Sizes, width: int, groups: int, config: DecoderConfig, layout: Layout | None
) -> tuple[Rows, Any]:
  """Shapes of a micro-batch and of its weights."""

  def array(*shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    where = None if layout is None else layout.sharding(('batch', *[None] * (len(shape) - 1)))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

  count = groups * sizes.samples
  numbers = partial(array, count, width, dtype=jnp.float32)
  rows = Rows(
    prompt=array(groups, sizes.prompt),
    prompt_len=array(groups),
    tokens=array(count, width),
    length=array(count),
    mask=numbers(),
    logp_sampled=numbers(),
    advantage=array(count, dtype=jnp.float32),
    seen=_abstract_seen(sizes, groups, config.vision, array) if sizes.picture and config.vision else None,
  )
  return rows, numbers()


def _abstract_seen(sizes: Sizes, groups: int, tower: VisionConfig, array: Callable[..., Any]) -> Seen:
  """Shapes of the pictures of as many prompts, one in each; see `rollout.album`."""
  count = sizes.shards
  while count < groups:
    count *= 2
  slots = sizes.picture
  pictures = Pictures(
    array(count, slots, tower.patch_width, dtype=jnp.float32),
    array(count, slots, dtype=jnp.bool_),
    array(count, slots, 2),
  )
  return Seen(array(groups, 3, sizes.prompt), array(groups), array(groups, sizes.prompt), (pictures,))
