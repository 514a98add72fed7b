"""Reads a Hugging Face folder: every tensor must be known, present once, and of the right shape."""

import json
import pathlib

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from llmi_jax.core.errors import WeightsError
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.names import places
from llmi_jax.models.registry import from_hf
from llmi_jax.models.sharding import leaf_name


def read_config(folder: str | pathlib.Path) -> DecoderConfig:
  """The decoder's shape from `config.json`.

  Raises:
    WeightsError: the file is missing or no JSON.
    ConfigError: its values are not supported.
  """
  path = pathlib.Path(folder) / 'config.json'
  try:
    fields = json.loads(path.read_text())
  except FileNotFoundError:
    raise WeightsError(f'{path} does not exist; point policy.path at a Hugging Face model folder.') from None
  except json.JSONDecodeError as error:
    raise WeightsError(f'{path} is not JSON ({error}); copy the file again.') from None
  return from_hf(fields)


def load(folder: str | pathlib.Path) -> tuple[Decoder, DecoderConfig]:
  """A decoder in float32 with the folder's weights.

  Raises:
    WeightsError: names the tensors that are unknown, missing, doubled or misshapen, or the broken file.
    ConfigError: the folder's config is not supported.
  """
  folder = pathlib.Path(folder)
  config = read_config(folder)
  table = places(config)
  abstract = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
  leaves, tree = jax.tree_util.tree_flatten_with_path(abstract)
  arrays = {leaf_name(path): np.empty(leaf.shape, np.float32) for path, leaf in leaves}
  seen: dict[str, str] = {}
  for path in _files(folder):
    try:
      with safe_open(path, framework='numpy') as file:
        for name in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
          if name in seen:
            raise WeightsError(f'{path.name} holds {name} again; {seen[name]} had it first.')
          seen[name] = path.name
          if name not in table:
            raise WeightsError(f'{path.name} holds {name}, which a {config.architecture} does not have.')
          _place(arrays, table[name], name, file.get_tensor(name))
    except SafetensorError as error:
      raise WeightsError(f'{path} is broken ({error}); copy the file again.') from None
  if missing := sorted(table.keys() - seen.keys()):
    more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
    raise WeightsError(f'{folder} lacks {missing[0]}{more}; the copy is incomplete.')
  ordered = [jax.device_put(arrays[leaf_name(path)]) for path, _ in leaves]
  model = jax.tree_util.tree_unflatten(tree, ordered)
  assert isinstance(model, Decoder)
  return model, config


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  index = folder / 'model.safetensors.index.json'
  if index.exists():
    names = sorted(set(json.loads(index.read_text())['weight_map'].values()))
    files = [folder / name for name in names]
  else:
    files = [folder / 'model.safetensors']
  for path in files:
    if not path.exists():
      raise WeightsError(f'{path} does not exist; point policy.path at a Hugging Face model folder.')
  return files


def _place(arrays, place, name: str, tensor: np.ndarray) -> None:
  target = arrays[place.leaf][place.index]
  if place.shape:
    tensor = tensor.reshape(tensor.shape[0], -1)
  value = tensor.T if place.transposed else tensor
  if value.shape != target.shape:
    wanted = target.shape[::-1] if place.transposed else target.shape
    raise WeightsError(f'{name} has shape {list(tensor.shape)}; the config asks for {list(wanted)}.')
  target[...] = value.astype(np.float32)
