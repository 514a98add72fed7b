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
from llmi_jax.models.names import places
from llmi_jax.models.registry import to_hf
from llmi_jax.models.sharding import leaf_name


def save(
  model: Decoder, config: DecoderConfig, folder: str | pathlib.Path, extra: Mapping[str, Any] = {}
) -> None:
  """Writes `config.json` (with `extra` fields) and `model.safetensors` in float32."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  arrays = {leaf_name(p): np.asarray(leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(model)}
  tensors = {}
  for name, place in places(config).items():
    value = arrays[place.leaf][place.index]
    value = np.ascontiguousarray(value.T if place.transposed else value)
    tensors[name] = value.reshape(place.shape) if place.shape else value
  save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})
  (folder / 'config.json').write_text(
    json.dumps(to_hf(config) | {'dtype': 'float32'} | dict(extra), indent=2) + '\n'
  )
