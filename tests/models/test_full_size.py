"""The four backbones at full size, by shapes: as many parameters as the originals, and they fit a mesh."""

import math

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType

from llmi_jax.models import sharding
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.names import places
from llmi_jax.models.registry import from_hf
from llmi_jax.models.sharding import MESH_AXES, Layout, leaf_name

ROPE = {'rope_type': 'default', 'rope_theta': 5e6}
# Numbers of the released config.json files.
QWEN3_4B = {
  'hidden_size': 2560,
  'intermediate_size': 9728,
  'num_hidden_layers': 36,
  'num_attention_heads': 32,
  'num_key_value_heads': 8,
  'head_dim': 128,
  'vocab_size': 151_936,
  'tie_word_embeddings': True,
  'max_position_embeddings': 262_144,
  'rope_parameters': ROPE,
}
QWEN3_30B = QWEN3_4B | {
  'hidden_size': 2048,
  'intermediate_size': 6144,
  'num_hidden_layers': 48,
  'num_key_value_heads': 4,
  'tie_word_embeddings': False,
  'num_experts': 128,
  'num_experts_per_tok': 8,
  'moe_intermediate_size': 768,
  'norm_topk_prob': True,
}


def _seeing(width, ff, layers, heads, kv_heads, vocab, tower_ff):
  text = {
    'hidden_size': width,
    'intermediate_size': ff,
    'num_hidden_layers': layers,
    'num_attention_heads': heads,
    'num_key_value_heads': kv_heads,
    'vocab_size': vocab,
    'rms_norm_eps': 1e-6,
    'max_position_embeddings': 128_000,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6, 'mrope_section': [16, 24, 24]},
  }
  vision = {
    'depth': 32,
    'hidden_size': 1280,
    'intermediate_size': tower_ff,
    'num_heads': 16,
    'out_hidden_size': width,
  }
  return {'text_config': text, 'vision_config': vision, 'tie_word_embeddings': False}


BACKBONES = {
  'Qwen3-4B': ('Qwen3Config', 'Qwen3ForCausalLM', QWEN3_4B),
  'Qwen3-30B-A3B': ('Qwen3MoeConfig', 'Qwen3MoeForCausalLM', QWEN3_30B),
  'Qwen2.5-VL-7B': (
    'Qwen2_5_VLConfig',
    'Qwen2_5_VLForConditionalGeneration',
    _seeing(3584, 18_944, 28, 28, 4, 152_064, 3420),
  ),
  'Qwen2.5-VL-32B': (
    'Qwen2_5_VLConfig',
    'Qwen2_5_VLForConditionalGeneration',
    _seeing(5120, 27_648, 64, 40, 8, 152_064, 3456),
  ),
}
MESHES = {
  'Qwen3-4B': {'fsdp': 16, 'tensor': 4},
  'Qwen3-30B-A3B': {'fsdp': 4, 'tensor': 2, 'expert': 8},
  'Qwen2.5-VL-7B': {'fsdp': 16, 'tensor': 4},
  'Qwen2.5-VL-32B': {'replica': 2, 'fsdp': 8, 'tensor': 4},
}


@pytest.mark.parametrize('name', BACKBONES)
def test_full_size_backbones(name):
  import torch
  import transformers

  config_name, model_name, fields = BACKBONES[name]
  theirs = getattr(transformers, config_name)(**fields)
  with torch.device('meta'):
    original = getattr(transformers, model_name)(theirs)
  config = from_hf(theirs.to_dict() | {'architectures': [model_name]})
  shapes = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
  leaves = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
  wanted = sum({id(p): p.numel() for p in original.parameters()}.values())
  assert sum(leaf.size for leaf in leaves.values()) == wanted
  # Every leaf is filled by tensors of a file, none twice.
  table = places(config)
  assert {place.leaf for place in table.values()} == leaves.keys()
  assert len({(place.leaf, place.index) for place in table.values()}) == len(table)

  mesh = AbstractMesh(
    tuple(MESHES[name].get(axis, 1) for axis in MESH_AXES), MESH_AXES, axis_types=(AxisType.Auto,) * 4
  )
  assert mesh.size == 64
  found = sharding.shardings(shapes, Layout(mesh), config)
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(shapes))
  local = sum(math.prod(one.shard_shape(leaf.shape)) for one, leaf in pairs)
  # Little is not split all ways: norms, biases, and the tower, which is split over fsdp only.
  split = 64 // MESHES[name].get('replica', 1)
  assert local < 1.25 * wanted / split
