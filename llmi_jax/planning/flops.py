"""Floating-point operations of a traced program: matrix products, loops and recomputation counted.

Traced before it is partitioned, a program counts for all devices together. A loop without a known end counts
as one pass, so that a decoding program counts one step; of branches the costliest counts.
"""

import math
from typing import Any

import jax
from jax.extend import core


def flops(closed: Any) -> float:
  """Operations of a closed jaxpr (two per multiply-add)."""
  return _count(closed.jaxpr)


def _count(jaxpr: Any) -> float:
  return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> float:
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    return _dot(equation)
  if name.startswith('ragged_dot'):
    left, right = (v.aval for v in equation.invars[:2])
    # Each row of the left meets one of the right's matrices.
    return 2.0 * math.prod(left.shape) * right.shape[-1]
  if name == 'conv_general_dilated':
    kernel, out = equation.invars[1].aval, equation.outvars[0].aval
    return (
      2.0 * math.prod(out.shape) * math.prod(kernel.shape) / max(1, max(kernel.shape[-1], kernel.shape[0]))
    )
  if name == 'scan':
    return params['length'] * flops(params['jaxpr'])
  if name == 'while':
    return flops(params['body_jaxpr'])
  if name == 'cond':
    return max(flops(branch) for branch in params['branches'])
  if name == 'shard_map':
    pieces = math.prod(params['mesh'].shape.values())
    return pieces * _count(params['jaxpr'])
  return sum(_inner(value) for value in params.values())


def _inner(value: Any) -> float:
  """Of what a primitive calls."""
  if isinstance(value, core.ClosedJaxpr):
    return flops(value)
  if isinstance(value, core.Jaxpr):
    return _count(value)
  return 0.0


def _dot(equation: Any) -> float:
  (contracted, _), (batched, _) = equation.params['dimension_numbers']
  left, out = equation.invars[0].aval, equation.outvars[0].aval
  del batched
  return 2.0 * math.prod(out.shape) * math.prod(left.shape[axis] for axis in contracted)


def trace(function: Any, *args: Any) -> float:
  """Operations of a function on arguments that may be shapes alone."""
  return flops(jax.make_jaxpr(function)(*args))
