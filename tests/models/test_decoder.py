"""The decoder equals transformers', cached equals uncached, grouped equals repeated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.models import decoder
from llmi_jax.models.cache import Cache, Prefix, empty_suffix
from llmi_jax.programs import learning
from llmi_jax.update.rows import Rows
from llmi_jax.weights.load import load_pretrained

ROWS, LENGTH = 3, 12


@pytest.fixture(scope='module')
def loaded(tiny_hf):
  return load_pretrained(tiny_hf[0])


def _batch(config):
  tokens = np.random.default_rng(0).integers(2, config.vocab, (ROWS, LENGTH)).astype(np.int32)
  positions = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), tokens.shape)
  return jnp.asarray(tokens), positions, jnp.array([12, 7, 9], jnp.int32)


def test_logits_equal_transformers(loaded, tiny_hf):
  import torch

  model, config = loaded
  tokens, positions, lengths = _batch(config)
  hidden, _, _ = decoder.forward(model, tokens, positions, lengths, config=config)
  ours = np.asarray(decoder.unembed(model, hidden))
  with torch.no_grad():
    theirs = tiny_hf[1](torch.tensor(np.asarray(tokens)).long()).logits.numpy()
  for row, length in enumerate(np.asarray(lengths)):
    np.testing.assert_allclose(ours[row, :length], theirs[row, :length], atol=1e-4)


def test_decoding_with_a_cache_equals_running_the_whole(loaded):
  model, config = loaded
  tokens, positions, lengths = _batch(config)
  whole, _, _ = decoder.forward(model, tokens, positions, jnp.full_like(lengths, LENGTH), config=config)
  view = decoder.decode_view(model)
  cut = jnp.array([5, 5, 5], jnp.int32)
  _, kv, _ = decoder.forward(view, tokens[:, :5], positions[:, :5], cut, config=config)
  suffix = empty_suffix(config.layers, ROWS, config.kv_heads, 8, config.head_dim, jnp.float32)
  for t in range(5, LENGTH):
    cache = Cache(Prefix(kv, cut), suffix)
    hidden, suffix, _ = decoder.forward(
      view, tokens[:, t : t + 1], positions[:, t : t + 1], cut, cache, config=config
    )
    np.testing.assert_allclose(hidden[:, 0], whole[:, t], atol=2e-5)


def test_scanned_layers_equal_unrolled_ones(loaded):
  model, config = loaded
  batch = _batch(config)
  scanned, _, _ = decoder.forward(model, *batch, config=config)
  unrolled, _, _ = decoder.forward(decoder.decode_view(model), *batch, config=config)
  remat, _, _ = decoder.forward(model, *batch, config=config, remat='full')
  np.testing.assert_allclose(scanned, unrolled, atol=1e-5)
  np.testing.assert_allclose(scanned, remat, atol=1e-5)


def test_learner_with_a_shared_prompt_equals_whole_rows_in_value_and_gradient(loaded):
  model, config = loaded
  rng = np.random.default_rng(1)
  prompt = jnp.asarray(rng.integers(2, config.vocab, (2, 6)), jnp.int32)
  prompt_len = jnp.array([6, 4], jnp.int32)
  answers = jnp.asarray(rng.integers(2, config.vocab, (4, 5)), jnp.int32)
  length = jnp.array([5, 3, 4, 5], jnp.int32)
  live = jnp.arange(5)[None] < length[:, None]

  def shared(model):
    none = jnp.zeros(answers.shape)
    rows = Rows(prompt, prompt_len, answers, length, none, none, none[:, 0])
    hidden = learning.learner(config).respond(model, rows, None).hidden
    return jnp.sum(jnp.where(live[..., None], hidden, 0.0) ** 2), hidden

  def whole(model):
    rows = []
    for row in range(4):
      n = int(prompt_len[row // 2])
      tokens = jnp.concatenate([prompt[row // 2, :n], answers[row]])[None]
      positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
      hidden, _, _ = decoder.forward(model, tokens, positions, jnp.array([tokens.shape[1]]), config=config)
      rows.append(hidden[0, n - 1 : n + 4])
    hidden = jnp.stack(rows)
    return jnp.sum(jnp.where(live[..., None], hidden, 0.0) ** 2), hidden

  grads, hidden = jax.grad(shared, has_aux=True)(model)
  wanted, reference = jax.grad(whole, has_aux=True)(model)
  np.testing.assert_allclose(hidden[live], reference[live], atol=2e-5)
  error = sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted)))
  total = sum(jnp.sum(b**2) for b in jax.tree.leaves(wanted))
  assert float(jnp.sqrt(error / total)) < 1e-5
