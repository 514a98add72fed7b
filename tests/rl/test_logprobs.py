"""The chunked head equals materialised logits in value and gradient, on a mesh too, in far less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.models.sharding import Layout, constrain, make_mesh
from llmi_jax.rl.logprobs import Head, token_logprobs

RNG = np.random.default_rng(0)
B, T, D, V = 4, 7, 6, 16
HIDDEN = RNG.normal(size=(B, T, D)).astype(np.float32)
TABLE = RNG.normal(size=(D, V)).astype(np.float32)
BANNED = np.arange(V) == 3
TARGETS = np.where((ids := RNG.integers(0, V, (B, T))) == 3, 4, ids).astype(np.int32)
SLOPES = RNG.normal(size=(2, B, T)).astype(np.float32)


def _materialised(hidden, table, temperature=1.0):
  full = jax.nn.log_softmax(jnp.where(BANNED[None, None], -1e30, hidden @ table / temperature))
  logp = jnp.sum(jnp.where(TARGETS[..., None] == jnp.arange(V)[None, None], full, 0.0), -1)
  return logp, -jnp.sum(jnp.exp(full) * full, -1)


def _both(function, entropy):
  def loss(hidden, table):
    logp, spread = function(hidden, table)
    return jnp.sum(SLOPES[0] * logp) + (jnp.sum(SLOPES[1] * spread) if entropy else 0.0), (logp, spread)

  return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))


@pytest.mark.parametrize('entropy', [False, True])
@pytest.mark.parametrize('chunk', [B, 3 * B, 100])
def test_values_and_gradients_equal_the_materialised_ones(chunk, entropy):
  head = Head(0.7, chunk, entropy)
  ours = _both(lambda h, w: token_logprobs(h, TARGETS, w, head, BANNED), entropy)
  grads, values = ours(HIDDEN, TABLE)
  wanted, exact = _both(lambda h, w: _materialised(h, w, 0.7), entropy)(HIDDEN, TABLE)
  for a, b in zip((*values, *grads), (*exact, *wanted)):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_entropy_has_no_gradient_unless_asked_for():
  grad = jax.grad(lambda h: jnp.sum(token_logprobs(h, TARGETS, TABLE)[1]))(HIDDEN)
  assert not np.asarray(grad).any()


def test_a_vocabulary_cut_over_eight_devices_gives_the_same():
  layout = Layout(make_mesh({'fsdp': 2, 'tensor': 4}, jax.devices()))
  head = Head(
    chunk=2 * B, entropy_gradient=True, place=lambda x: constrain(x, layout, 'batch', None, 'vocab')
  )
  hidden = jax.device_put(HIDDEN, layout.sharding(('batch', None, None)))
  table = jax.device_put(TABLE, layout.sharding(('width', 'vocab')))
  grads, values = _both(lambda h, w: token_logprobs(h, TARGETS, w, head, BANNED), True)(hidden, table)
  wanted, exact = _both(_materialised, True)(HIDDEN, TABLE)
  for a, b in zip((*values, *grads), (*exact, *wanted)):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.slow
def test_a_large_head_takes_a_twentieth_of_the_memory():
  tokens, width, vocab = 8192, 256, 151_936

  def ours(hidden, table, ids):
    return jnp.sum(token_logprobs(hidden, ids, table, Head(chunk=256))[0])

  def materialised(hidden, table, ids):
    logits = hidden @ table
    picked = jnp.take_along_axis(logits, ids[..., None], -1)[..., 0]
    return jnp.sum(picked - jax.nn.logsumexp(logits, -1))

  shapes = (
    jax.ShapeDtypeStruct((1, tokens, width), jnp.float32),
    jax.ShapeDtypeStruct((width, vocab), jnp.float32),
    jax.ShapeDtypeStruct((1, tokens), jnp.int32),
  )

  def peak(loss):
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert peak(ours) < 0.05 * peak(materialised)
