"""The painter's weights: one safetensors file in half precision, with sizes and vocabulary in its header."""

import dataclasses
import hashlib
import json
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llmi_jax.core.errors import WeightsError
from llmi_jax.painter.network import Painter, Shape

FILE = 'painter.safetensors'


class Loaded(NamedTuple):
  """A painter, its sizes, word → token id, and the SHA-256 of its file."""

  params: Painter
  shape: Shape
  vocabulary: dict[str, int]
  digest: str


def save(params: Painter, shape: Shape, vocabulary: dict[str, int], folder: pathlib.Path) -> None:
  """Writes the file; the folder is made if missing."""
  folder.mkdir(parents=True, exist_ok=True)
  leaves = {name: np.asarray(leaf, np.float16) for name, leaf in _named(params)}
  metadata = {'shape': json.dumps(dataclasses.asdict(shape)), 'vocabulary': json.dumps(vocabulary)}
  save_file(leaves, folder / FILE, metadata)
  (folder / FILE).chmod(0o644)  # safetensors writes for the owner alone


def load(folder: pathlib.Path) -> Loaded:
  """Reads what `save` wrote, as float32.

  Raises:
    WeightsError: the file is missing, broken, or has other tensors than its sizes say.
  """
  path = folder / FILE
  try:
    with safe_open(path, 'numpy') as file:
      metadata = file.metadata() or {}
      stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    shape = Shape(**json.loads(metadata['shape']))
    vocabulary = json.loads(metadata['vocabulary'])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
  except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
    raise WeightsError(f'The painter {path} cannot be read ({error}); restore the file.') from error
  empty = jax.eval_shape(lambda: Painter(shape, jax.random.key(0)))
  wanted = {name: leaf.shape for name, leaf in _named(empty)}
  if wanted != {name: leaf.shape for name, leaf in stored.items()}:
    raise WeightsError(f'The tensors of {path} do not fit its sizes; restore the file.')
  leaves = [jnp.asarray(stored[name], jnp.float32) for name, _ in _named(empty)]
  return Loaded(jax.tree.unflatten(jax.tree.structure(empty), leaves), shape, vocabulary, digest)


def _named(params) -> list[tuple[str, jax.Array]]:
  """Every parameter with its dotted name, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return [
    ('.'.join(str(getattr(k, 'name', getattr(k, 'key', k))) for k in path), leaf) for path, leaf in leaves
  ]
