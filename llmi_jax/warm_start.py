"""Supervised warm start: a policy that imitates demonstrations, the point where reinforcement begins.

All prompts begin with the same system text. It is run once per batch and the rest of each row behind it, as
the learner runs a prompt once per group. Rows are gathered by length, so that little of a batch is padding.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax.rl import logprobs
from llmi_jax.update import state as states
from llmi_jax.update.loss import Policy
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.rows import Rows
from llmi_jax.update.state import TrainState


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One demonstration.

  Attributes:
    prompt: [T] int32.
    response: [T] int32, the stop token included.
  """

  prompt: np.ndarray
  response: np.ndarray


@dataclasses.dataclass(frozen=True)
class Batching:
  """How examples become batches.

  Attributes:
    shared: tokens that all prompts begin with.
    widths: lengths behind them that a batch may have, ascending; longer examples are left out.
    tokens: per batch, padding included; a batch of width w has `tokens // w` rows.
  """

  shared: int
  widths: tuple[int, ...]
  tokens: int


def batches(examples: Iterator[Example], batching: Batching) -> Iterator[Rows]:
  """Endless batches, each of one of the widths."""
  waiting: dict[int, list[Example]] = {width: [] for width in batching.widths}
  for example in examples:
    behind = len(example.prompt) - batching.shared + len(example.response)
    width = next((w for w in batching.widths if behind <= w), None)
    if width is None:
      continue
    waiting[width].append(example)
    if len(waiting[width]) == batching.tokens // width:
      yield rows(waiting[width], batching.shared, width)
      waiting[width] = []


def rows(examples: Sequence[Example], shared: int, width: int) -> Rows:
  """A batch in which the first `shared` tokens, equal in all prompts, stand once."""
  count = len(examples)
  tokens, mask = np.zeros((count, width), np.int32), np.zeros((count, width), np.float32)
  length = np.zeros(count, np.int32)
  for row, example in enumerate(examples):
    behind = np.concatenate([example.prompt[shared:], example.response])
    length[row] = len(behind)
    tokens[row, : len(behind)] = behind
    mask[row, len(example.prompt) - shared : len(behind)] = 1.0
  zeros = np.zeros(count, np.float32)
  prompt, prompt_len = examples[0].prompt[None, :shared], np.array([shared], np.int32)
  return Rows(prompt, prompt_len, tokens, length, mask, np.zeros_like(mask), zeros)


def make_step(
  policy: Policy, optimizer: Optimizer
) -> Callable[[TrainState, Rows], tuple[TrainState, jax.Array]]:
  """One step on the mean negative log-likelihood of response tokens, to be jitted with the state donated."""

  def loss(params: Any, batch: Rows) -> jax.Array:
    hidden = policy.respond(params, batch, None).hidden
    head = logprobs.Head(chunk=1 << 20)
    logp, _ = logprobs.token_logprobs(hidden, batch.tokens, policy.unembedding(params), head)
    return -jnp.sum(logp * batch.mask) / jnp.maximum(batch.mask.sum(), 1.0)

  def step(state: TrainState, batch: Rows) -> tuple[TrainState, jax.Array]:
    value, grads = jax.value_and_grad(loss)(state.params, batch)
    return states.apply(state, grads, optimizer, jnp.isfinite(value)), value

  return step


def train(
  params: Any,
  policy: Policy,
  optimizer: Optimizer,
  examples: Iterator[Example],
  batching: Batching,
  tell: Callable[[int, float, Any], None],
) -> Any:
  """Runs `optimizer.steps` steps and returns the parameters.

  Args:
    params: where to begin.
    policy: functions.
    optimizer: static choices.
    examples: endless.
    batching: static choices.
    tell: called with each step's number, loss and new parameters.
  """
  step = jax.jit(make_step(policy, optimizer), donate_argnums=0)
  state = states.fresh(params, optimizer)
  stream = batches(examples, batching)
  for number in range(optimizer.steps):
    state, loss = step(state, next(stream))
    tell(number + 1, float(loss), state.params)
  return state.params
