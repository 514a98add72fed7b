"""A policy's functions and the loss of a micro-batch of its samples."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import lora
from llmi_jax.rl import aggregate, balance, logprobs
from llmi_jax.rl.loss import Surrogate, policy_loss
from llmi_jax.update.rows import Rows


class Response(NamedTuple):
  """What a policy made of rows.

  Attributes:
    hidden: [P·R, Tr, D], the states that predict `tokens`.
    chosen: [L', P·R, E], how often a whole row's tokens chose each expert; None for a dense policy.
    probability: [L', P·R, E], the sum of each expert's probability over them.
    choices: every token's experts, in the policy's own form, to be replayed.
  """

  hidden: Array
  chosen: Array | None = None
  probability: Array | None = None
  choices: Any = None


class Policy(NamedTuple):
  """The functions of a policy that an update needs.

  Attributes:
    respond: (params, rows, choices or None) → `Response`.
    unembedding: params → [D, V].
    active: experts per token; 0 for a dense policy.
    place: logits → logits on the policy's mesh.
  """

  respond: Callable[..., Response]
  unembedding: Callable[[Any], Array]
  active: int = 0
  place: Callable[[Array], Array] = lambda logits: logits


class Before(NamedTuple):
  """What the policy computed of rows before the first of a step's several updates.

  Attributes:
    logp: [P·R, Tr].
    choices: `Response.choices`, where they are replayed.
  """

  logp: Array
  choices: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Goal:
  """Static choices of the loss.

  Attributes:
    surrogate: the policy's loss.
    temperature: of the sampler; divides logits here as there.
    banned: [V] bool, tokens that the sampler never draws; None: it draws all.
    balance: coefficient of the experts' balancing loss.
    replay: whether updates behind a step's first one send tokens to the experts that they went to before it,
      their weights computed anew; without it, tokens that change experts change their ratios by much.
    logits: how many of them are held at once.
  """

  surrogate: Surrogate = Surrogate()
  temperature: float = 1.0
  banned: Any = None
  balance: float = 0.0
  replay: bool = False
  logits: int = 1 << 25

  def check(self, policy: Policy) -> None:
    """Refuses what a policy cannot have.

    Raises:
      ConfigError: it has no experts to balance or to replay.
    """
    if (self.balance or self.replay) and not policy.active:
      raise ConfigError('loss.balance and loss.replay are for mixtures of experts; this policy is dense.')


def token_logprobs(policy: Policy, goal: Goal, model: Any, hidden: Array, rows: Rows) -> tuple[Array, Array]:
  """Log-probability and entropy of every response token, [P·R, Tr] each."""
  table = policy.unembedding(model)
  head = logprobs.Head(
    goal.temperature, max(1, goal.logits // table.shape[1]), bool(goal.surrogate.entropy), policy.place
  )
  return logprobs.token_logprobs(hidden, rows.tokens, table, head, goal.banned)


def reference_logprobs(
  policy: Policy, goal: Goal, params: Any, fixed: Any, reference: Any, rows: Rows
) -> Array | None:
  """[P·R, Tr] under the reference policy: the base without adapters where there are some, else `reference`.

  None where no KL term asks for it.
  """
  if not goal.surrogate.kl:
    return None
  model = lora.join(params, fixed)
  base = lora.silenced(model) if lora.adapters(model) else reference
  if base is None:
    raise ValueError('A KL term needs the reference policy.')
  base = jax.lax.stop_gradient(base)
  response = policy.respond(base, rows, None)
  return jax.lax.stop_gradient(token_logprobs(policy, goal, base, response.hidden, rows)[0])


def micro_loss(
  policy: Policy,
  goal: Goal,
  params: Any,
  fixed: Any,
  reference: Any,
  rows: Rows,
  weights: Array,
  before: Before | None,
) -> tuple[Array, dict[str, Array]]:
  """The micro-batch's share of the loss of its update, and sums over its tokens.

  Args:
    policy: functions.
    goal: static choices.
    params: what is trained.
    fixed: the rest, as `models.lora.split` returns it.
    reference: the reference policy, where one is needed that is not the base of adapters.
    rows: the micro-batch.
    weights: [P·R, Tr], see `rl.aggregate`.
    before: log-probabilities of the policy that the step began with; None where it is this one.

  Returns:
    The loss; `rl.loss.SUMS` and `logp_gap_max`, with `loss`, `tokens` and `balance`.
  """
  model = lora.join(params, fixed)
  response = policy.respond(model, rows, before.choices if before is not None else None)
  logp, entropy = token_logprobs(policy, goal, model, response.hidden, rows)
  old = jax.lax.stop_gradient(logp) if before is None else before.logp
  value, sums = policy_loss(
    logp,
    old,
    rows.advantage,
    rows.mask,
    weights,
    goal.surrogate,
    sampled=rows.logp_sampled,
    reference=reference_logprobs(policy, goal, params, fixed, reference, rows),
    entropy=entropy,
  )
  uneven = jnp.zeros((), value.dtype)
  if response.chosen is not None and response.probability is not None:
    kind, constant = goal.surrogate.aggregation, goal.surrogate.constant
    share = aggregate.row_weights(weights, kind, constant=constant)
    each = balance.sequence_loss(response.chosen, response.probability, policy.active)
    uneven = jnp.sum(share * each)
    value = value + goal.balance * uneven
  sums |= {'loss': value, 'tokens': (rows.mask > 0).sum().astype(value.dtype), 'balance': uneven}
  return value, jax.lax.stop_gradient(sums)
