"""Linear maps, plain or one per expert, with an optional low-rank adapter (LoRA, Hu et al., arXiv 2106.09685)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

INIT_SCALE = 0.02


class Lora(nnx.Variable):
  """An adapter's leaf; a type of its own, so that it can be split off and trained alone."""


def normal(key: Array, *shape: int) -> nnx.Param:
  """A parameter drawn from N(0, `INIT_SCALE`²)."""
  return nnx.Param(jax.random.normal(key, shape) * INIT_SCALE)


class Linear(nnx.Module):
  """y = x·w + b, plus (x·lora_a)·lora_b·scale where there is an adapter.

  Attributes:
    w: [inputs, outputs]; further axes in front where layers or experts are stacked.
    b: [outputs], only where the map has a bias.
    lora_a: [inputs, rank], only with an adapter.
    lora_b: [rank, outputs], likewise.
    lora_scale: alpha / rank; static.
  """

  def __init__(self, key: Array, inputs: int, outputs: int, *, bias: bool = False):
    self.w = normal(key, inputs, outputs)
    if bias:
      self.b = nnx.Param(jnp.zeros(outputs))

  @property
  def adapted(self) -> bool:
    return hasattr(self, 'lora_a')

  def __call__(self, x: Array) -> Array:
    """[..., inputs] → [..., outputs]."""
    y = x @ self.w[...]
    if self.adapted:
      y = y + (x @ self.lora_a[...]) @ self.lora_b[...] * self.lora_scale
    if hasattr(self, 'b'):
      y = y + jnp.expand_dims(self.b[...], range(y.ndim - 1))
    return y
