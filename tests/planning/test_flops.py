"""Operations against sums by hand, and against XLA's own count of programs without loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.planning import flops

A, B = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 4), jnp.float32)
ONE = 2 * 8 * 16 * 4


@pytest.mark.parametrize(
  ('function', 'wanted'),
  [
    (lambda a, b: a @ b, ONE),
    (lambda a, b: jax.lax.scan(lambda c, _: (c + (a @ b).sum(), None), 0.0, None, 5)[0], 5 * ONE),
    (lambda a, b: jax.lax.while_loop(lambda c: c < 9, lambda c: c + (a @ b).sum(), 0.0), ONE),
    (lambda a, b: jax.lax.cond(a.sum() > 0, lambda: (a @ b).sum(), lambda: 0.0), ONE),
    (lambda a, b: jax.jit(lambda a: a @ b)(a), ONE),
    (lambda a, b: jnp.einsum('ab,bc->c', a, b), 2 * 16 * 4),
    (lambda a, b: jax.grad(lambda a: (a @ b).sum())(a), 2 * ONE),
    # The backward pass computes the product again.
    (lambda a, b: jax.grad(jax.checkpoint(lambda a: jnp.sum(jnp.sin(a @ b))))(a), 3 * ONE),
    (lambda a, b: jax.lax.ragged_dot(a, jnp.ones((3, 16, 4)), jnp.array([2, 3, 3])), ONE),
  ],
  ids=['dot', 'scan', 'while', 'cond', 'jit', 'einsum', 'gradient', 'remat', 'ragged'],
)
def test_products_count_as_often_as_they_run(function, wanted):
  found = flops.trace(function, A, B)
  # What jnp.einsum contracts first is its own affair.
  assert found == wanted or (wanted == 2 * 16 * 4 and found <= 2 * ONE)


def test_xla_counts_the_same_of_a_program_without_loops():
  def loss(w, x):
    hidden = jnp.tanh(x @ w['up'])
    return jnp.mean((hidden @ w['down']) ** 2)

  w = {'up': jnp.ones((64, 256)), 'down': jnp.ones((256, 64))}
  x = jnp.ones((128, 64))
  ours = flops.trace(jax.grad(loss), w, x)
  theirs = jax.jit(jax.grad(loss)).lower(w, x).compile().cost_analysis()['flops']
  # XLA counts what is not a matrix product, too.
  assert 0.95 < ours / theirs <= 1.0


def test_a_mapped_program_counts_for_all_devices():
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ('x',))
  spec = jax.sharding.PartitionSpec('x')
  mapped = jax.shard_map(
    lambda a, b: a @ b, mesh=mesh, in_specs=(spec, jax.sharding.PartitionSpec()), out_specs=spec
  )
  assert flops.trace(mapped, A, B) == ONE
