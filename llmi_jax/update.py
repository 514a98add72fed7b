"""The training step: forward, loss, gradient, AdamW; one jitted program over micro-batches."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from llmi_jax.rl import aggregate, logprobs
from llmi_jax.rl.loss import Surrogate, policy_loss


class TrainState(NamedTuple):
  """What training changes.

  Attributes:
    params: of the policy, float32.
    optimizer: Optax state.
    step: scalar int32, updates tried so far.
    skipped: scalar int32, updates left out because they were not finite or nothing was scorable.
  """

  params: Any
  optimizer: Any
  step: Array
  skipped: Array


class Rows(NamedTuple):
  """A step's rows as the learner reads them: each prompt once, its responses behind it.

  Attributes:
    prompt: [P, Tp] int32.
    prompt_len: [P] int32.
    tokens: [P·R, Tr] int32, responses only.
    length: [P·R] int32.
    mask: [P·R, Tr] float32.
    logp_sampled: [P·R, Tr] float32, under the sampling distribution.
    advantage: [P·R] float32.
  """

  prompt: Array
  prompt_len: Array
  tokens: Array
  length: Array
  mask: Array
  logp_sampled: Array
  advantage: Array


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """AdamW with warm-up and cosine decay.

  Attributes:
    learning_rate: its peak.
    warmup: steps from 0 to the peak.
    steps: of the whole run.
    final: share of the peak at the end.
    weight_decay: on matrices, not on norms.
    clip: largest global gradient norm.
    b1, b2, eps: Adam's.
  """

  learning_rate: float
  warmup: int
  steps: int
  final: float = 0.01
  weight_decay: float = 0.1
  clip: float = 1.0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8

  def schedule(self) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(
      0.0, self.learning_rate, self.warmup, max(self.steps, self.warmup + 1), self.final * self.learning_rate
    )

  def build(self) -> optax.GradientTransformation:
    def matrices(params):
      return jax.tree.map(lambda leaf: leaf.ndim >= 2 and min(leaf.shape[-2:]) > 1, params)

    adamw = optax.adamw(
      self.schedule(), self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=matrices
    )
    return optax.chain(optax.clip_by_global_norm(self.clip), adamw)


class Policy(NamedTuple):
  """The functions of a policy that an update needs.

  Attributes:
    respond: (params, prompt, prompt_len, tokens, length) → [P·R, Tr, D], the states that predict `tokens`.
    unembed: (params, [C, D]) → [C, V] float32 logits.
  """

  respond: Callable[..., Array]
  unembed: Callable[..., Array]


def init(params: Any, optimizer: Optimizer) -> TrainState:
  """A state before the first step."""
  zero = jnp.zeros((), jnp.int32)
  with jax.numpy_dtype_promotion('standard'):
    return TrainState(params, optimizer.build().init(params), zero, zero)


def make_update(
  policy: Policy,
  optimizer: Optimizer,
  surrogate: Surrogate,
  *,
  temperature: float = 1.0,
  banned: Array | None = None,
  head_chunk: int = 4096,
  micro_batches: int = 1,
) -> Callable[[TrainState, Rows], tuple[TrainState, dict[str, Array]]]:
  """The training step as a pure function, to be jitted with the state donated.

  Args:
    policy: functions.
    optimizer: static choices.
    surrogate: static choices of the loss.
    temperature: of the sampler; divides logits here as there.
    banned: [V] bool, tokens that the sampler never draws.
    head_chunk: tokens whose logits are held at once.
    micro_batches: pieces the prompts are cut into; must divide P. The gradient is the whole batch's.
  """
  transform = optimizer.build()

  def piece_loss(params, rows: Rows, weights):
    hidden = policy.respond(params, rows.prompt, rows.prompt_len, rows.tokens, rows.length)

    def head(states):
      return policy.unembed(params, states)

    logp, entropy = logprobs.token_logprobs(
      hidden, rows.tokens, head, temperature=temperature, banned=banned, chunk=head_chunk
    )
    # One update per rollout: the policy that is updated is the one that sampled.
    old = jax.lax.stop_gradient(logp)
    loss, out = policy_loss(logp, old, rows.advantage, rows.mask, weights, surrogate)
    live = rows.mask > 0
    gap = jnp.where(live, old - rows.logp_sampled, 0.0)
    out['entropy'] = jnp.sum(weights * entropy)
    out['logp_gap'] = jnp.sum(weights * jnp.abs(gap))
    out['logp_gap_max'] = jnp.max(jnp.abs(gap))
    return loss, out | {'loss': loss}

  def gradient(params, rows: Rows):
    weights = aggregate.token_weights(rows.mask, surrogate.aggregation, constant=surrogate.constant)
    grad = jax.grad(piece_loss, has_aux=True)
    if micro_batches == 1:
      return grad(params, rows, weights)
    cut = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), (rows, weights))

    def add(total, piece):
      grads, out = grad(params, *piece)
      return jax.tree.map(jnp.add, total, grads), out

    grads, outs = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), cut)
    out = {name: values.max() if name == 'logp_gap_max' else values.sum() for name, values in outs.items()}
    return grads, out

  def update(state: TrainState, rows: Rows):
    grads, out = gradient(state.params, rows)
    norm = optax.global_norm(grads)
    sound = jnp.isfinite(norm) & jnp.isfinite(out['loss']) & (rows.mask.sum() > 0)
    with jax.numpy_dtype_promotion('standard'):
      updates, moved = transform.update(grads, state.optimizer, state.params)
      params = optax.apply_updates(state.params, updates)

    def choose(new, old):
      return jnp.where(sound, new, old)

    out |= {'grad_norm': norm, 'skipped': 1.0 - sound.astype(jnp.float32)}
    state = TrainState(
      params=jax.tree.map(choose, params, state.params),
      optimizer=jax.tree.map(choose, moved, state.optimizer),
      step=state.step + 1,
      skipped=state.skipped + jnp.where(sound, 0, 1),
    )
    return state, out

  return update
