"""The gated reward: visual quality counts only as far as the rules are met (LLM-I §3.2).

    R = w_rule·r + w_llm·L + w_mllm·g·M + Σ w·extra,    g = r in the paper's form

Missing parts are NaN. A part is needed only where its weight times its gate is not zero, so an answer whose
picture judge is down still has a reward if no picture was allowed and none was due.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

Gate = Literal['paper', 'all', 'none']


class Weights(NamedTuple):
  """Weights of the three parts; the paper's are 0.2, 0.5 and 0.3."""

  rule: float = 0.2
  llm: float = 0.5
  mllm: float = 0.3


def _term(factor: Array, value: Array) -> Array:
  """factor·value, 0 where the factor is 0 even if the value is missing."""
  used = factor != 0
  return jnp.where(used, factor * jnp.where(used, value, 0.0), 0.0)


def gated_reward(
  rule: ArrayLike,
  llm: ArrayLike,
  mllm: ArrayLike,
  weights: Weights = Weights(),
  gate: Gate = 'paper',
  extra: Sequence[tuple[float, ArrayLike]] = (),
) -> Array:
  """Parts in [0, 1] of any one shape → rewards of that shape; NaN where a needed part is missing.

  Args:
    rule: r, the image-rule score.
    llm: L, the text judge's score.
    mllm: M, the visual judge's score.
    weights: of the parts.
    gate: `paper` gates M by r, `all` gates L and M by r, `none` gates nothing.
    extra: weight and values of further terms; nothing gates them.

  Raises:
    ValueError: the gate's name is unknown.
  """
  r, text, visual = (jnp.asarray(x, jnp.float32) for x in (rule, llm, mllm))
  if gate not in ('paper', 'all', 'none'):
    raise ValueError(f'Unknown gate {gate!r}; known are paper, all and none.')
  open_ = jnp.ones_like(r)
  gate_text = r if gate == 'all' else open_
  gate_visual = open_ if gate == 'none' else r
  total = _term(weights.rule * open_, r)
  total += _term(weights.llm * gate_text, text)
  total += _term(weights.mllm * gate_visual, visual)
  for weight, value in extra:
    total += _term(weight * open_, jnp.asarray(value, jnp.float32))
  return total
