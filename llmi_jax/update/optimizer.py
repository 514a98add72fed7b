"""AdamW (arXiv 1711.05101) with warm-up, cosine decay and clipping by the global norm."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from llmi_jax.core.errors import ConfigError
from llmi_jax.models.sharding import leaf_name

# float32         both moments
# bfloat16_first  the first in bf16: 2 bytes less per parameter; the second must not be, since bf16 cannot
#                 tell v from v·b2 (a step of 0.1 %) and would stand still
Moments = Literal['float32', 'bfloat16_first']


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """Static choices.

  Attributes:
    learning_rate: its peak.
    warmup: updates from 0 to the peak.
    steps: updates of the whole run.
    final: share of the peak at the end.
    weight_decay: on matrices, not on norms and biases.
    clip: largest global gradient norm.
    b1, b2, eps: Adam's.
    moments: what they are kept in.
    offload: whether they wait in the host's memory between updates.
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
  moments: Moments = 'float32'
  offload: bool = False

  def __post_init__(self):
    if self.moments not in ('float32', 'bfloat16_first'):
      raise ConfigError(f'optimizer.moments is {self.moments!r}; known are float32 and bfloat16_first.')

  def schedule(self) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(
      0.0, self.learning_rate, self.warmup, max(self.steps, self.warmup + 1), self.final * self.learning_rate
    )

  def build(self) -> optax.GradientTransformation:
    first = jnp.bfloat16 if self.moments == 'bfloat16_first' else None
    adamw = optax.adamw(
      self.schedule(),
      self.b1,
      self.b2,
      self.eps,
      mu_dtype=first,
      weight_decay=self.weight_decay,
      mask=decayed,
    )
    return optax.chain(optax.clip_by_global_norm(self.clip), adamw)


def decayed(params: Any) -> Any:
  """Which parameters decay: matrices, and neither norms nor biases, which have two axes as well where layers
  are stacked; so names decide."""

  def one(path, leaf) -> bool:
    name = leaf_name(path)
    bias = name.endswith('.b') and not name.endswith('lora.b')
    return leaf.ndim >= 2 and not bias and not name.endswith('norm')

  return jax.tree_util.tree_map_with_path(one, params)
