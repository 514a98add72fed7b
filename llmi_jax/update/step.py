"""Micro-batches, added up to the gradient of the whole batch, and the step's end."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from llmi_jax.models import lora
from llmi_jax.rl.loss import SUMS
from llmi_jax.update.loss import Before, Goal, Policy, micro_loss, token_logprobs
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.rows import Rows
from llmi_jax.update.state import TrainState, apply


class Sums(NamedTuple):
  """What micro-batches add up to.

  Attributes:
    grads: gradient of the whole batch's loss.
    out: sums by name over the batch's live tokens; `loss` and `balance` are weighted as the loss is, `tokens`
      is their number, `logp_gap_max` a maximum.
  """

  grads: Any
  out: dict[str, Array]


OUT = ('loss', 'tokens', 'balance', *SUMS, 'logp_gap_max')


def empty(params: Any) -> Sums:
  """Sums over nothing."""
  exact = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
  dtype = jnp.float64 if exact else jnp.float32
  return Sums(jax.tree.map(jnp.zeros_like, params), {name: jnp.zeros((), dtype) for name in OUT})


def make_add(policy: Policy, goal: Goal) -> Callable[..., Sums]:
  """Adds one micro-batch: (params, sums, rows, weights, fixed, reference, before) → sums, to be donated.

  `fixed` is what is not trained; for it, `reference` and `before` see `loss.micro_loss`.
  """

  def loss(params, fixed, reference, rows, weights, before):
    return micro_loss(policy, goal, params, fixed, reference, rows, weights, before)

  def add(
    params: Any,
    sums: Sums,
    rows: Rows,
    weights: Array,
    fixed: Any = None,
    reference: Any = None,
    before: Before | None = None,
  ) -> Sums:
    grads, out = jax.grad(loss, has_aux=True)(params, fixed, reference, rows, weights, before)
    joined = {name: jnp.maximum if name.endswith('_max') else jnp.add for name in OUT}
    return Sums(
      jax.tree.map(jnp.add, sums.grads, grads),
      {name: joined[name](sums.out[name], out[name].astype(sums.out[name].dtype)) for name in OUT},
    )

  return add


def make_look(policy: Policy, goal: Goal) -> Callable[..., Before]:
  """What the policy makes of rows before a step's first update: (params, rows, fixed) → `Before`."""

  def look(params: Any, rows: Rows, fixed: Any = None) -> Before:
    model = lora.join(params, fixed)
    response = policy.respond(model, rows, None)
    logp, _ = token_logprobs(policy, goal, model, response.hidden, rows)
    # Experts' numbers fit into two bytes.
    choices = jax.tree.map(lambda x: x.astype(jnp.int16), response.choices) if goal.replay else None
    return Before(logp, choices)

  return look


def finish(
  state: TrainState, sums: Sums, optimizer: Optimizer, *, last: bool = True
) -> tuple[TrainState, dict[str, Array]]:
  """An update's end: one AdamW step if the gradient is finite and any token was scorable.

  Args:
    state: before; to be donated.
    sums: of all micro-batches.
    optimizer: static choices.
    last: whether it is the step's last update.

  Returns:
    The state after it, and numbers: means over live tokens under the names of `rl.loss.SUMS`, `loss`,
    `balance`, `tokens`, `logp_gap_max`, `grad_norm` before clipping, `skipped` (0 or 1).
  """
  norm = optax.tree.norm(sums.grads)
  live = sums.out['tokens']
  sound = jnp.isfinite(norm) & jnp.isfinite(sums.out['loss']) & (live > 0)
  means = {name: sums.out[name] / jnp.maximum(live, 1.0) for name in SUMS}
  out = sums.out | means | {'grad_norm': norm, 'skipped': 1.0 - sound.astype(jnp.float32)}
  return apply(state, sums.grads, optimizer, sound, last=last), out


def summary(outs: Sequence[dict[str, Array]]) -> dict[str, Array]:
  """A step's numbers from those of its updates: means, the largest of what is a maximum, the tokens of all;
  a step is skipped if all its updates were."""
  if len(outs) == 1:
    return outs[0]

  def one(name: str) -> Array:
    values = jnp.stack([out[name] for out in outs])
    if name.endswith('_max'):
      return values.max()
    return {'skipped': jnp.min, 'tokens': jnp.sum}.get(name, jnp.mean)(values)

  return {name: one(name) for name in outs[0]}
