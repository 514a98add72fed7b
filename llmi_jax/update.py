"""The training step: forward, loss and gradient per micro-batch, added up; then AdamW."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from llmi_jax.models import lora
from llmi_jax.rl import logprobs
from llmi_jax.rl.loss import Surrogate, policy_loss

Values = Any  # an array: NumPy on the host, JAX's within a program


class TrainState(NamedTuple):
  """What training changes.

  Attributes:
    params: of the policy, float32; its adapters alone where it has some (`models.lora.split`).
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

  prompt: Values
  prompt_len: Values
  tokens: Values
  length: Values
  mask: Values
  logp_sampled: Values
  advantage: Values


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
  with jax.numpy_dtype_promotion('standard'):
    moments = optimizer.build().init(params)
  return TrainState(params, moments, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


class Sums(NamedTuple):
  """What micro-batches add up to.

  Attributes:
    grads: gradient of the whole batch's loss.
    out: sums over the batch's tokens by name, each weighted as the loss is; `logp_gap_max` is a maximum.
  """

  grads: Any
  out: dict[str, Array]


OUT = ('loss', 'ratio', 'clip_fraction', 'kl_old', 'entropy', 'logp_gap', 'logp_gap_max')


def empty(params: Any) -> Sums:
  """Sums over nothing."""
  return Sums(jax.tree.map(jnp.zeros_like, params), {name: jnp.zeros(()) for name in OUT})


def make_add(
  policy: Policy,
  surrogate: Surrogate,
  *,
  temperature: float = 1.0,
  banned: Array | None = None,
  head_chunk: int = 1 << 15,
) -> Callable[..., Sums]:
  """Adds one micro-batch to the sums: (params, sums, rows, weights, fixed) → sums, to be donated.

  `fixed` is what is not trained, as `models.lora.split` returns it.

  Args:
    policy: functions.
    surrogate: static choices of the loss.
    temperature: of the sampler; divides logits here as there.
    banned: [V] bool, tokens that the sampler never draws.
    head_chunk: tokens whose logits are held at once.
  """

  def loss(params: Any, fixed: Any, rows: Rows, weights: Array) -> tuple[Array, dict[str, Array]]:
    model = lora.join(params, fixed)
    hidden = policy.respond(model, rows.prompt, rows.prompt_len, rows.tokens, rows.length)

    def head(states: Array) -> Array:
      return policy.unembed(model, states)

    logp, entropy = logprobs.token_logprobs(
      hidden, rows.tokens, head, temperature=temperature, banned=banned, chunk=head_chunk
    )
    # One update per rollout: the policy that is updated is the one that sampled.
    old = jax.lax.stop_gradient(logp)
    value, out = policy_loss(logp, old, rows.advantage, rows.mask, weights, surrogate)
    gap = jnp.abs(jnp.where(rows.mask > 0, old - rows.logp_sampled, 0.0))
    out |= {'loss': value, 'entropy': jnp.sum(weights * entropy)}
    return value, out | {'logp_gap': jnp.sum(weights * gap), 'logp_gap_max': gap.max()}

  def add(params: Any, sums: Sums, rows: Rows, weights: Array, fixed: Any = None) -> Sums:
    grads, out = jax.grad(loss, has_aux=True)(params, fixed, rows, weights)
    joined = {name: jnp.maximum if name.endswith('_max') else jnp.add for name in OUT}
    return Sums(
      jax.tree.map(jnp.add, sums.grads, grads),
      {name: joined[name](sums.out[name], out[name]) for name in OUT},
    )

  return add


def finish(
  state: TrainState, sums: Sums, optimizer: Optimizer, live: Array
) -> tuple[TrainState, dict[str, Array]]:
  """The step's end: one AdamW step if the gradient is finite and any token (`live` > 0) was scorable."""
  norm = optax.tree.norm(sums.grads)
  sound = jnp.isfinite(norm) & jnp.isfinite(sums.out['loss']) & (live > 0)
  out = sums.out | {'grad_norm': norm, 'skipped': 1.0 - sound.astype(jnp.float32)}
  return apply(state, sums.grads, optimizer, sound), out


def apply(state: TrainState, grads: Any, optimizer: Optimizer, sound: Array) -> TrainState:
  """The state after one AdamW step; parameters and moments are as before where `sound` is false."""
  with jax.numpy_dtype_promotion('standard'):
    updates, moved = optimizer.build().update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)

  def choose(new, old):
    return jnp.where(sound, new, old)

  return TrainState(
    params=jax.tree.map(choose, params, state.params),
    optimizer=jax.tree.map(choose, moved, state.optimizer),
    step=state.step + 1,
    skipped=state.skipped + jnp.where(sound, 0, 1),
  )
