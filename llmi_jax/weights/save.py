"""Writes a Hugging Face folder that transformers loads, one tensor at a time."""

import contextlib
import json
import math
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from llmi_jax.core.errors import ConfigError, StorageError
from llmi_jax.models import lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.names import Place, places
from llmi_jax.models.registry import from_hf, to_hf
from llmi_jax.models.sharding import leaf_name
from llmi_jax.services import storage
from llmi_jax.weights import format as files
from llmi_jax.weights.catalogue import file_shape
from llmi_jax.weights.load import read_fields

DTYPES = ('float32', 'bfloat16')
# What belongs to a model besides weights and shape: tokenizer, processor, generation.
COMPANIONS = (
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'preprocessor_config.json',
  'video_preprocessor_config.json',
  'processor_config.json',
  'generation_config.json',
)


def save_pretrained(
  model: Decoder,
  config: DecoderConfig,
  folder: str | pathlib.Path,
  source: str | pathlib.Path | None = None,
  *,
  dtype: Any = jnp.float32,
  shard_bytes: float = 5e9,
  merge: bool = False,
  extra: Mapping[str, Any] = {},
) -> None:
  """Makes `folder`, whole or not at all.

  Args:
    model: parameters, on any devices.
    config: their shape.
    folder: must not exist or be empty.
    source: whose tokenizer, processor, chat template and generation config are copied, and whose own fields
      of `config.json` are kept.
    dtype: float32 or bfloat16.
    shard_bytes: largest size of a file, one tensor at least.
    merge: whether LoRA adapters are merged; otherwise a model that has some is refused.
    extra: further fields of `config.json`.

  Raises:
    ConfigError: the model has adapters, the dtype is another, the folder is in use, or `source` is of another
      model.
    StorageError: the folder cannot be written.
  """
  dtype = np.dtype(dtype)
  if dtype.name not in DTYPES:
    raise ConfigError(f'Weights cannot be written as {dtype}; choose {" or ".join(DTYPES)}.')
  if lora.adapters(model):
    if not merge:
      raise ConfigError('The model has LoRA adapters; merge them, or write them alone with weights/peft.')
    model = jax.jit(lora.merge)(model)
  fields = _fields(config, source) | {'dtype': dtype.name} | dict(extra)
  if jax.process_index():
    # All processes take part in fetching, and the first one writes.
    for _, _, _, arrays in _files(model, config, dtype, shard_bytes):
      for _ in arrays:
        pass
    return
  with new_folder(folder) as made:
    _write_tensors(model, config, made, dtype, shard_bytes)
    write_json(made / 'config.json', fields)
    for name in COMPANIONS if source is not None else ():
      copy(pathlib.Path(source or '') / name, made / name)


def _fields(config: DecoderConfig, source: str | pathlib.Path | None) -> dict[str, Any]:
  own = to_hf(config)
  if source is None or not (pathlib.Path(source) / 'config.json').exists():
    return own
  kept = read_fields(pathlib.Path(source))
  if from_hf(kept) != config:
    raise ConfigError(
      f'{source} is the folder of a model of another shape; name the one this model came from.'
    )
  # An older name of `dtype`.
  kept.pop('torch_dtype', None)
  return _updated(kept, own)


def _updated(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
  """`new` on top of `old`, at every depth."""
  both = {
    k: _updated(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)
  }
  return {**old, **new, **both}


def check_free(folder: str | pathlib.Path) -> pathlib.Path:
  """The folder's absolute path; raises ConfigError if it is anything but absent or empty."""
  target = pathlib.Path(folder).absolute()
  if target.exists() and (not target.is_dir() or any(target.iterdir())):
    raise ConfigError(f'{folder} exists and is not empty; remove it or choose another folder.')
  return target


@contextlib.contextmanager
def new_folder(folder: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to write into that gets its name when all is there; nothing is left if that fails.

  Raises:
    ConfigError: the name is taken by something that is not an empty folder.
    StorageError: the file system fails.
  """
  target = check_free(folder)
  made = target.with_name(f'.{target.name}.{secrets.token_hex(8)}')
  with storage.storing(target):
    made.mkdir(parents=True)
  try:
    yield made
    with storage.storing(target):
      storage.sync_folder(made)
      made.rename(target)
      storage.sync_folder(target.parent)
  finally:
    shutil.rmtree(made, ignore_errors=True)


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes JSON for people to read, the same for the same content."""
  storage.write(path, (json.dumps(content, indent=2) + '\n').encode())


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a file that may be absent."""
  if not source.exists():
    return
  try:
    data = source.read_bytes()
  except OSError as error:
    raise StorageError(f'{source} cannot be read ({error.strerror}); check its permissions.') from error
  storage.write(target, data)


def _write_tensors(
  model: Decoder, config: DecoderConfig, folder: pathlib.Path, dtype: np.dtype, shard_bytes: float
) -> None:
  weight_map: dict[str, str] = {}
  total = 0
  for file, names, shapes, arrays in _files(model, config, dtype, shard_bytes):
    files.write(folder / file, [(name, dtype, shape) for name, shape in zip(names, shapes)], arrays)
    weight_map |= dict.fromkeys(names, file)
    total += sum(math.prod(shape) * dtype.itemsize for shape in shapes)
  if len(set(weight_map.values())) > 1:
    index = {'metadata': {'total_size': total}, 'weight_map': dict(sorted(weight_map.items()))}
    write_json(folder / 'model.safetensors.index.json', index)


def _files(
  model: Decoder, config: DecoderConfig, dtype: np.dtype, shard_bytes: float
) -> Iterator[tuple[str, list[str], list[tuple[int, ...]], Iterator[np.ndarray]]]:
  """Name of each file, its tensors' names and shapes, and what they hold, to be fetched as it is written."""
  leaves = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(model)}
  table = places(config)
  assert leaves.keys() == {place.leaf for place in table.values()}, 'names and model do not agree'
  shapes = {name: file_shape(place, leaves[place.leaf].shape) for name, place in table.items()}
  runs = cut({name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}, shard_bytes)
  for number, names in enumerate(runs, 1):
    file = f'model-{number:05}-of-{len(runs):05}.safetensors' if len(runs) > 1 else 'model.safetensors'
    arrays = (fetch(leaves[table[name].leaf], table[name], shapes[name], dtype) for name in names)
    yield file, names, [shapes[name] for name in names], arrays


def cut(sizes: Mapping[str, int], limit: float) -> list[list[str]]:
  """Names in order, in runs whose sizes add up to `limit` at most; what is larger stands alone."""
  runs: list[list[str]] = []
  room = -1.0
  for name, size in sizes.items():
    if not runs or size > room:
      runs.append([])
      room = limit
    runs[-1].append(name)
    room -= size
  return runs


def fetch(leaf: Array, place: Place, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
  """One tensor as its file holds it."""
  sharding = getattr(leaf, 'sharding', None)
  replicated = NamedSharding(sharding.mesh, PartitionSpec()) if isinstance(sharding, NamedSharding) else None
  made = _picker(replicated)(leaf, place.index, dtype=dtype, transposed=place.transposed)
  return np.asarray(made).reshape(shape)


@lru_cache
def _picker(sharding: NamedSharding | None):
  return partial(jax.jit, static_argnames=('dtype', 'transposed'), out_shardings=sharding)(_pick)


def _pick(leaf: Array, index: tuple[Any, ...], *, dtype: Any, transposed: bool) -> Array:
  for i in index:
    leaf = jax.lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)
  return (leaf.T if transposed else leaf).astype(dtype)
