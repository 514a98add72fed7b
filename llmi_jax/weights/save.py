"""Writes a Hugging Face folder that transformers loads."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.weights.load import leaf_name
from llmi_jax.weights.names import places


def to_hf(config: DecoderConfig, dtype: str = 'float32') -> dict[str, Any]:
  """The fields of a `config.json`."""
  return {
    'architectures': [config.architecture],
    'model_type': 'qwen3',
    'vocab_size': config.vocab,
    'hidden_size': config.width,
    'intermediate_size': config.ff,
    'num_hidden_layers': config.layers,
    'num_attention_heads': config.heads,
    'num_key_value_heads': config.kv_heads,
    'head_dim': config.head_dim,
    'hidden_act': 'silu',
    'rms_norm_eps': config.norm_eps,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': config.rope_theta},
    'tie_word_embeddings': config.tied,
    'max_position_embeddings': config.max_length,
    'attention_bias': False,
    'dtype': dtype,
  }


def save(
  model: Decoder, config: DecoderConfig, folder: str | pathlib.Path, extra: Mapping[str, Any] = {}
) -> None:
  """Writes `config.json` (with `extra` fields) and `model.safetensors` in float32."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  arrays = {leaf_name(p): np.asarray(leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(model)}
  tensors = {}
  for name, place in places(config).items():
    value = arrays[place.leaf] if place.layer is None else arrays[place.leaf][place.layer]
    tensors[name] = np.ascontiguousarray(value.T if place.transposed else value)
  save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})
  (folder / 'config.json').write_text(json.dumps(to_hf(config) | dict(extra), indent=2) + '\n')
