"""Logits and gradients of every configurable form equal those of transformers on torch, in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.models import decoder
from llmi_jax.models.names import places
from llmi_jax.models.registry import to_hf
from llmi_jax.models.sharding import leaf_name
from llmi_jax.weights.load import load_pretrained
from tests.models import originals

ROWS, LENGTH = 2, 24
ROPE = {'rope_theta': 1e4, 'factor': 4.0}
DENSE = {
  'plain': {},
  'untied, biases, other widths': {
    'tie_word_embeddings': False,
    'attention_bias': True,
    'head_dim': 8,
    'num_key_value_heads': 1,
    'rms_norm_eps': 1e-5,
  },
  'a key head for each query head': {'num_key_value_heads': 4, 'head_dim': 6},
  'linear': {'rope_parameters': ROPE | {'rope_type': 'linear'}},
  'dynamic, within its length': {'rope_parameters': ROPE | {'rope_type': 'dynamic'}},
  'dynamic, beyond its length': {
    'rope_parameters': ROPE | {'rope_type': 'dynamic'},
    'max_position_embeddings': 10,
  },
  'yarn': {'rope_parameters': ROPE | {'rope_type': 'yarn', 'original_max_position_embeddings': 8}},
  'yarn with all its numbers': {
    'rope_parameters': ROPE
    | {
      'rope_type': 'yarn',
      'original_max_position_embeddings': 16,
      'attention_factor': 1.3,
      'beta_fast': 16.0,
      'beta_slow': 2.0,
      'truncate': False,
    }
  },
  'yarn with two scales': {
    'rope_parameters': ROPE
    | {'rope_type': 'yarn', 'original_max_position_embeddings': 16, 'mscale': 0.7, 'mscale_all_dim': 1.1}
  },
  'windows from a layer on': {
    'use_sliding_window': True,
    'sliding_window': 5,
    'max_window_layers': 1,
    'num_hidden_layers': 3,
  },
  'windows by layer': {
    'use_sliding_window': True,
    'sliding_window': 7,
    'layer_types': ['sliding_attention', 'full_attention'] * 2,
    'num_hidden_layers': 4,
  },
}
MIXTURES = {
  'plain': {},
  'probabilities as they are': {'norm_topk_prob': False},
  'every second layer': {'decoder_sparse_step': 2, 'num_hidden_layers': 4},
  'first and last layer dense': {'mlp_only_layers': [0, 3], 'num_hidden_layers': 4},
  'both': {'decoder_sparse_step': 2, 'mlp_only_layers': [3], 'num_hidden_layers': 6},
  'one of seven, untied, biases, a window': {
    'num_experts': 7,
    'num_experts_per_tok': 1,
    'norm_topk_prob': False,
    'tie_word_embeddings': False,
    'attention_bias': True,
    'use_sliding_window': True,
    'sliding_window': 6,
  },
  'no layer sparse': {'mlp_only_layers': [0, 1]},
}
# What another case has as well; each is compiled afresh, so these wait for the slow run.
RARE = (
  'plain',
  'a key head for each query head',
  'linear',
  'dynamic, within its length',
  'yarn',
  'yarn with two scales',
  'windows from a layer on',
  'first and last layer dense',
  'both',
  'no layer sparse',
)
CASES = [
  pytest.param(
    make, name, changes, id=f'{make.__name__}: {name}', marks=pytest.mark.slow if name in RARE else ()
  )
  for make, table in ((originals.dense, DENSE), (originals.mixture, MIXTURES))
  for name, changes in table.items()
]


@pytest.fixture(scope='module', autouse=True)
def quick_to_compile():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.mark.parametrize(('make', 'name', 'changes'), CASES)
def test_logits_and_gradients_equal_the_original(make, name, changes, tmp_path):
  import torch

  original = make(**changes)
  original.save_pretrained(tmp_path)
  model, config = load_pretrained(tmp_path)
  rng = np.random.default_rng(0)
  tokens = rng.integers(2, config.vocab, (ROWS, LENGTH)).astype(np.int32)
  # Rows beyond `dynamic`'s length must be equally long there: the original takes the longest for all.
  lengths = np.full(ROWS, LENGTH, np.int32) if 'beyond' in name else np.array([LENGTH, 17], np.int32)
  live = np.arange(LENGTH)[None] < lengths[:, None]
  weight = (rng.normal(size=(ROWS, LENGTH, config.vocab)) * live[..., None]).astype(np.float32)

  theirs = original(torch.tensor(tokens).long()).logits
  (theirs * torch.tensor(weight)).sum().backward()

  def loss(model):
    positions = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), tokens.shape)
    hidden, _, out = decoder.forward(model, tokens, positions, jnp.asarray(lengths), config=config)
    logits = decoder.unembed(model, hidden)
    return jnp.sum(logits * weight), (logits, out)

  grads, (ours, out) = jax.jit(jax.grad(loss, has_aux=True))(model)
  np.testing.assert_allclose(np.asarray(ours)[live], theirs.detach().numpy()[live], atol=1e-4)
  wanted = originals.gradients(original)
  leaves = {leaf_name(p): np.asarray(g) for p, g in jax.tree_util.tree_leaves_with_path(grads)}
  table = places(config)
  assert table.keys() == wanted.keys()
  for tensor, place in table.items():
    grad = leaves[place.leaf][place.index]
    error = np.linalg.norm((grad.T if place.transposed else grad) - wanted[tensor])
    assert error <= 1e-3 * np.linalg.norm(wanted[tensor]) + 1e-7, tensor
  assert ('router_logits' in out) == (config.experts is not None)


def test_router_logits_equal_the_original(tmp_path):
  import torch

  original = originals.mixture(num_hidden_layers=3, mlp_only_layers=[1])
  original.save_pretrained(tmp_path)
  model, config = load_pretrained(tmp_path)
  tokens = np.random.default_rng(1).integers(2, config.vocab, (2, 9)).astype(np.int32)
  positions = jnp.broadcast_to(jnp.arange(9, dtype=jnp.int32), tokens.shape)
  _, _, out = decoder.forward(model, tokens, positions, jnp.array([9, 9]), config=config)
  with torch.no_grad():
    theirs = original(torch.tensor(tokens).long(), output_router_logits=True).router_logits
  assert len(theirs) == 2
  for ours, one in zip(out['router_logits'], theirs):
    np.testing.assert_allclose(ours.reshape(18, -1), one.numpy(), atol=1e-5)
  chosen = np.sort(np.asarray(out['router_logits']), -1)[..., -2:].min(-1, keepdims=True)
  counted = (np.asarray(out['router_logits']) >= chosen).sum(2)
  np.testing.assert_array_equal(out['router_chosen'], counted)
  np.testing.assert_allclose(out['router_probability'].sum(-1), np.full((2, 2), 9.0), rtol=1e-5)


@pytest.mark.parametrize(('make', 'changes'), [(originals.dense, {}), (originals.mixture, {})])
def test_bf16_is_as_near_to_float32_as_the_original(make, changes, tmp_path):
  import torch

  original = make(**changes, num_hidden_layers=3)
  original.save_pretrained(tmp_path)
  model, config = load_pretrained(tmp_path)
  tokens = np.random.default_rng(2).integers(2, config.vocab, (2, 20)).astype(np.int32)
  positions = jnp.broadcast_to(jnp.arange(20, dtype=jnp.int32), tokens.shape)

  def logits(model):
    hidden, _, _ = decoder.forward(model, tokens, positions, jnp.array([20, 20]), config=config)
    return np.asarray(decoder.unembed(model, hidden))

  exact = logits(model)
  ours = logits(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model))
  with torch.no_grad():
    theirs = original.to(torch.bfloat16)(torch.tensor(tokens).long()).logits.float().numpy()
  assert ours.dtype == np.float32
  rounding = np.sqrt(np.mean((theirs - exact) ** 2))
  # Rounding may send a token to another expert; so it does in the original.
  assert np.sqrt(np.mean((ours - exact) ** 2)) <= 1.5 * rounding
  assert np.sqrt(np.mean((ours - theirs) ** 2)) <= 2 * rounding


@pytest.mark.parametrize(('make', 'name', 'changes'), CASES)
def test_configs_survive_a_round_trip(make, name, changes):
  from transformers import AutoConfig

  from llmi_jax.models.registry import from_hf

  original = make(**changes)
  config = from_hf(original.config.to_dict() | {'architectures': [type(original).__name__]})
  assert from_hf(to_hf(config)) == config
  again = AutoConfig.for_model(**to_hf(config))
  assert from_hf(again.to_dict() | {'architectures': [config.architecture]}) == config
