"""Adapters: alone trained, merged to the same function, split as their linear maps are."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import decoder, lora, sharding
from llmi_jax.models.config import DecoderConfig, Experts
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.linear import Lora
from llmi_jax.models.sharding import Layout, leaf_name, make_mesh

SIZES = {'vocab': 48, 'width': 32, 'ff': 48, 'layers': 2, 'heads': 4, 'kv_heads': 2, 'head_dim': 16}
DENSE = DecoderConfig('Qwen3ForCausalLM', **SIZES)
MIXED = DecoderConfig('Qwen3MoeForCausalLM', **SIZES, experts=Experts(4, 2, 24, True, (1,)))
TARGETS = ('attention.*', 'mlp.*', 'moe.*')
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 48, (4, 9)), jnp.int32)
LENGTHS = jnp.array([9, 6, 9, 6], jnp.int32)


def _model(config, targets=TARGETS, rank=3):
  model = _made(config)
  return model, lora.add(model, jax.random.key(1), rank, 6.0, targets)


@cache
def _made(config):
  return jax.jit(lambda key: Decoder(config, key))(jax.random.key(0))


def _noisy(model):
  trained, fixed = lora.split(model)
  rng = np.random.default_rng(1)
  noisy = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), trained)
  return lora.join(noisy, fixed)


@partial(jax.jit, static_argnames=('config', 'layout'))
def _run(model, config, layout=None):
  positions = jnp.broadcast_to(jnp.arange(9, dtype=jnp.int32), TOKENS.shape)
  hidden, _, _ = decoder.forward(model, TOKENS, positions, LENGTHS, config=config, layout=layout)
  return decoder.unembed(model, hidden)[:, :6]


def test_fresh_adapters_change_nothing_and_merged_ones_compute_the_same():
  config = MIXED
  model, fresh = _model(config)
  np.testing.assert_array_equal(_run(model, config), _run(fresh, config))
  adapted = _noisy(fresh)
  merged = jax.jit(lora.merge)(adapted)
  assert jax.tree.structure(merged) == jax.tree.structure(model)
  np.testing.assert_allclose(_run(adapted, config), _run(merged, config), atol=2e-5)
  assert jnp.abs(_run(adapted, config) - _run(model, config)).max() > 0.05
  # In generation too.
  view = _run(jax.jit(decoder.decode_view)(adapted), config)
  np.testing.assert_allclose(view, _run(merged, config), atol=2e-5)


def test_they_begin_as_those_of_peft():
  _, model = _model(MIXED, rank=512)
  for path, adapter in lora.adapters(model).items():
    bound = adapter.a.shape[-2] ** -0.5
    a = np.asarray(adapter.a)
    assert np.abs(a).max() <= bound and np.abs(a).max() > 0.99 * bound, path
    np.testing.assert_allclose(a.std(), bound / np.sqrt(3), rtol=0.02)
    assert adapter.scale == 6.0 / 512 and not np.asarray(adapter.b).any()


def test_gradients_exist_for_adapters_alone_and_are_those_of_the_whole():
  _, model = _model(MIXED)
  model = _noisy(model)
  trained, fixed = lora.split(model)
  assert all('.lora.' in leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(trained))
  assert not any('.lora.' in leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(fixed))
  assert jax.tree.structure(lora.join(trained, fixed)) == jax.tree.structure(model)

  def loss(model):
    return jnp.sum(_run(model, MIXED) ** 2)

  grads = jax.jit(jax.grad(lambda trained, fixed: loss(lora.join(trained, fixed))))(trained, fixed)
  wanted, _ = lora.split(jax.jit(jax.grad(loss))(model))
  assert jax.tree.structure(grads) == jax.tree.structure(trained)
  for own, whole in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(own, whole, rtol=1e-4, atol=1e-5)
    assert jnp.abs(own).max() > 0


def test_without_adapters_all_is_trained():
  model, _ = _model(DENSE, ('mlp.up',))
  trained, fixed = lora.split(model)
  assert trained is model and fixed is None and lora.join(trained, fixed) is model


def test_targets_choose_by_the_ends_of_paths():
  for targets, wanted in (
    (('attention.q',), {'spans.0.0.attention.q', 'spans.1.0.attention.q'}),
    (('spans.1.*.v', 'moe.down'), {'spans.1.0.attention.v', 'spans.1.0.moe.down'}),
    (('down',), {'spans.0.0.mlp.down', 'spans.1.0.moe.down'}),
  ):
    _, model = _model(MIXED, targets)
    assert set(lora.adapters(model)) == wanted
    variables = jax.tree.leaves(model, is_leaf=lambda x: isinstance(x, Lora))
    assert sum(isinstance(variable, Lora) for variable in variables) == 2 * len(wanted)


@pytest.mark.parametrize(
  ('rank', 'targets', 'words'),
  [
    (0, ('mlp.*',), 'rank of LoRA adapters is 0'),
    (
      2,
      ('mlp.*', 'attention.w'),
      r"No linear map is called 'attention.w'; known are attention.k, .*, mlp.up",
    ),
    (2, ('moe.*',), "No linear map is called 'moe"),
    (2, ('ttention.q',), 'No linear map'),
  ],
)
def test_wrong_choices_are_told(rank, targets, words):
  model, adapted = _model(DENSE, ('attention.q',))
  with pytest.raises(ConfigError, match=words):
    lora.add(model, jax.random.key(0), rank, 1.0, targets)
  with pytest.raises(ConfigError, match='has LoRA adapters already'):
    lora.add(adapted, jax.random.key(0), 2, 1.0, ('mlp.*',))


def test_adapters_on_a_mesh_compute_the_same():
  _, model = _model(MIXED)
  model = _noisy(model)
  layout = Layout(make_mesh({'fsdp': 2, 'tensor': 2, 'expert': 2}, jax.devices()))
  split = jax.device_put(model, sharding.shardings(model, layout, MIXED))
  np.testing.assert_allclose(_run(split, MIXED, layout), _run(model, MIXED), atol=2e-5)
