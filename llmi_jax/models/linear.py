"""Linear maps with an optional low-rank adapter (LoRA, Hu et al., arXiv 2106.09685)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

INIT_SCALE = 0.02


class Lora(nnx.Variable):
  """An adapter's leaf; a type of its own, so that it can be split off and trained alone."""


def wide(dtype: Any) -> Any:
  """What norms and softmax are computed in: float32, or `dtype` where that is wider."""
  return jnp.float64 if dtype == jnp.float64 else jnp.float32


def normal(key: Array, *shape: int) -> nnx.Param:
  """A parameter drawn from N(0, `INIT_SCALE`²)."""
  return nnx.Param(jax.random.normal(key, shape) * INIT_SCALE)


class Adapter(nnx.Module):
  """x → (x·a)·b·scale.

  Attributes:
    a: [inputs, rank]; further axes in front where layers or experts are stacked.
    b: [rank, outputs], likewise.
    scale: alpha / rank; static.
  """

  def __init__(self, a: Array, b: Array, scale: float):
    self.a, self.b, self.scale = Lora(a), Lora(b), scale


class Linear(nnx.Module):
  """y = x·w + b, plus what an adapter adds.

  Attributes:
    w: [inputs, outputs]; further axes in front where layers or experts are stacked.
    b: [outputs], only where the map has a bias.
    lora: an `Adapter`, or None.
  """

  def __init__(self, key: Array, inputs: int, outputs: int, *, bias: bool = False):
    self.w = normal(key, inputs, outputs)
    if bias:
      self.b = nnx.Param(jnp.zeros(outputs))
    self.lora: Adapter | None = nnx.data(None)

  def __call__(self, x: Array) -> Array:
    """[..., inputs] → [..., outputs]."""
    return self.through(x, jnp.matmul)

  def through(self, x: Array, multiply: Callable[[Array, Array], Array]) -> Array:
    """The same, with another product of rows and matrices."""
    y = multiply(x, self.w[...])
    if self.lora is not None:
      y = y + multiply(multiply(x, self.lora.a[...]), self.lora.b[...]) * self.lora.scale
    if hasattr(self, 'b'):
      y = y + jnp.expand_dims(self.b[...], range(y.ndim - 1))
    return y
