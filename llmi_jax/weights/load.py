"""Reads a Hugging Face folder: every tensor must be known, present once, and of the right shape."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from llmi_jax.core.errors import WeightsError
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.registry import from_hf
from llmi_jax.models.sharding import Layout, leaf_name, shardings
from llmi_jax.weights import catalogue
from llmi_jax.weights.format import CHUNK, Box, Stored, matrix, read
from llmi_jax.weights.stream import Progress, fill


def read_fields(folder: pathlib.Path) -> dict[str, Any]:
  """The fields of `config.json`.

  Raises:
    WeightsError: the file is missing or no JSON object.
  """
  path = folder / 'config.json'
  try:
    fields = json.loads(path.read_text())
  except OSError as error:
    words = 'does not exist' if isinstance(error, FileNotFoundError) else f'cannot be read ({error.strerror})'
    raise WeightsError(f'{path} {words}; point policy.path at a Hugging Face model folder.') from None
  except (ValueError, RecursionError) as error:
    raise WeightsError(f'{path} is not JSON ({error}); copy the file again.') from None
  if not isinstance(fields, dict):
    raise WeightsError(f'{path} is no JSON object; copy the file again.')
  return fields


def read_config(folder: str | pathlib.Path) -> DecoderConfig:
  """The decoder's shape from `config.json`.

  Raises:
    WeightsError: the file is missing or no JSON object.
    ConfigError: its values are not supported.
  """
  return from_hf(read_fields(pathlib.Path(folder)))


def load_pretrained(
  folder: str | pathlib.Path,
  layout: Layout | None = None,
  dtype: Any = jnp.float32,
  progress: Progress | None = None,
) -> tuple[Decoder, DecoderConfig]:
  """A model with a folder's weights, streamed to where `layout` wants them.

  The host holds one tensor's bytes at a time; each process reads only what its own devices hold.

  Args:
    folder: in Hugging Face form, its weights in one safetensors file or in several with an index.
    layout: mesh and rules; None for one device.
    dtype: of every leaf; tensors are cast on the device.
    progress: called with the bytes that are done and those of all tensors.

  Raises:
    WeightsError: names the file, and the tensor that is unknown, missing, doubled, cut or misshapen.
    ConfigError: the folder's config is not supported.
    ShardingError: the model does not fit the mesh.
  """
  folder = pathlib.Path(folder)
  config = read_config(folder)
  shapes = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
  wanted = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)
  if layout is not None:
    wanted = jax.tree.map(
      lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding),
      wanted,
      shardings(wanted, layout, config),
    )
  found, tree = jax.tree_util.tree_flatten_with_path(wanted)
  leaves = {leaf_name(path): leaf for path, leaf in found}
  matches, pairs = catalogue.match(folder, config, {name: leaf.shape for name, leaf in leaves.items()})
  for pair in pairs:
    _check_equal(*pair)
  arrays = fill(leaves, matches, progress)
  model = jax.tree_util.tree_unflatten(tree, [arrays[name] for name in leaves])
  assert isinstance(model, Decoder)
  return model, config


def _check_equal(copy: Stored, original: Stored) -> None:
  """A tensor that the config ties to another must repeat it."""
  rows, columns = matrix(copy.shape)
  step = max(1, CHUNK // max(1, copy.size // max(1, rows)))
  for row in range(0, rows, step):
    box = Box(row, min(row + step, rows), 0, columns)
    first, second = (read(stored, [box])[0] for stored in (copy, original))
    if first.dtype != second.dtype or first.tobytes() != second.tobytes():
      raise WeightsError(
        f'{copy.path} holds {copy.name}, which differs from {original.name} though the config ties them; '
        'set tie_word_embeddings to false in config.json.'
      )
