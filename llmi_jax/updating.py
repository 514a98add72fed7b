"""What a run's config says of its updates: the loss, micro-batches, the policy and its reference."""

from typing import Any

import jax
import jax.numpy as jnp

from llmi_jax import wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.models import lora
from llmi_jax.models.sharding import Layout
from llmi_jax.programs import learning
from llmi_jax.rl.clip import Clip
from llmi_jax.rl.correction import Correction
from llmi_jax.rl.loss import Surrogate
from llmi_jax.rl.overlong import Overlong
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.sampling.logits import Sampling
from llmi_jax.terminal.geometry import Geometry
from llmi_jax.update.loss import Goal, Policy
from llmi_jax.wiring import Config


def surrogate(config: Config) -> Surrogate:
  """The policy loss."""
  loss = config.loss
  return Surrogate(
    ratio=loss.ratio,
    clip=Clip(loss.clip_low, loss.clip_high, loss.clip_dual),
    aggregation=loss.aggregation,
    constant=loss.constant or float(config.sampler.tokens),
    objective=loss.objective,
    correction=Correction(loss.correction.kind, loss.correction.high, loss.correction.low),
    kl=loss.kl,
    kl_kind=loss.kl_kind,
    entropy=loss.entropy,
  )


def overlong(config: Config) -> Overlong:
  """What nearing the longest response costs."""
  chosen = config.loss.overlong
  return Overlong(chosen.buffer, chosen.factor, chosen.mask)


def goal(config: Config, policy: wiring.Policy) -> Goal:
  """The loss with everything around it.

  Raises:
    ConfigError: the sampler draws from another distribution than the learner computes.
  """
  learning.check_sampling(Sampling(config.sampler.temperature))
  return Goal(
    surrogate(config),
    config.sampler.temperature,
    wiring.banned_mask(policy),
    config.loss.balance,
    config.loss.replay,
    config.policy.logits,
  )


def micro_batches(config: Config, shards: int = 1) -> MicroBatches:
  """How a step's rows are cut.

  Args:
    config: of the run.
    shards: of a process's rows on its devices.

  Raises:
    ConfigError: the widths do not hold the longest response.
  """
  chosen = config.optimizer
  widths = tuple(sorted(chosen.widths))
  if not widths or widths[-1] < config.sampler.tokens:
    raise ConfigError(
      f'optimizer.widths are {widths} and responses have up to {config.sampler.tokens} tokens; '
      'let the widths end at sampler.tokens.'
    )
  return MicroBatches(chosen.prompts, widths, chosen.tokens, config.prompt.tokens, chosen.updates, shards)


def geometry(config: Config, processes: int = 1, shards: int = 1) -> Geometry:
  """How a step's samples become updates.

  Args:
    config: of the run.
    processes: that share the prompts.
    shards: of a process's rows on its devices.

  Raises:
    ConfigError: the widths do not hold the longest response.
  """
  pieces, prompts, samples = micro_batches(config, shards), config.data.prompts, config.data.samples
  each = max(1, prompts // (processes * pieces.updates))
  sizes = [max(1, pieces.groups(width, samples, each) // shards) for width in pieces.widths]
  return Geometry(
    prompts, samples, pieces.updates, processes, shards, pieces.prompts, (min(sizes), max(sizes))
  )


def learner(config: Config, policy: wiring.Policy, layout: Layout | None = None) -> Policy:
  """The policy's functions for the update.

  Raises:
    ConfigError: a name is unknown.
  """
  chosen = config.policy
  known = ('none', 'full', 'dots', 'attention')
  if chosen.remat not in known:
    raise ConfigError(f'config.policy.remat is {chosen.remat!r}; known are {", ".join(known)}.')
  return learning.learner(
    policy.config,
    unroll=chosen.unroll,
    remat=chosen.remat,
    experts=wiring.experts_kind(layout),
    layout=layout,
    dtype=wiring.dtype(config, 'policy.compute'),
    share=chosen.share_prompts,
  )


def reference(config: Config, policy: wiring.Policy) -> Any:
  """The policy that a KL term compares with, frozen and in bf16; None where the base of adapters serves, or
  where no KL term asks for one."""
  if not config.loss.kl or lora.adapters(policy.model):
    return None
  return jax.jit(lambda model: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model))(policy.model)


def updater(
  config: Config, policy: wiring.Policy, reference: Any = None, layout: Layout | None = None
) -> learning.Update:
  """The training step of a run.

  Args:
    config: of the run.
    policy: as it began.
    reference: as `reference` makes it.
    layout: mesh and rules; None on one device.
  """
  return learning.updater(
    learner(config, policy, layout),
    wiring.optimizer(config),
    goal(config, policy),
    fixed=wiring.split(policy, config)[1],
    reference=reference,
    config=policy.config,
    layout=layout,
  )


def program_sizes(config: Config, processes: int = 1, shards: int = 1) -> learning.Sizes:
  """Shapes of a run's micro-batches, for `learning.programs`."""
  pieces = micro_batches(config, shards)
  samples, each = config.data.samples, config.data.prompts // processes // pieces.updates
  groups = tuple((w, processes * pieces.groups(w, samples, each)) for w in pieces.widths)
  return learning.Sizes(config.prompt.tokens, samples, groups, pieces.updates)
