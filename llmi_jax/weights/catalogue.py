"""Which tensors a folder holds, and where each belongs; all that headers alone can tell is checked here."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmi_jax.core.errors import WeightsError
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.names import Place, canonical, copies, places
from llmi_jax.weights.format import AGAIN, DTYPES, Stored, read_header


class Match(NamedTuple):
  """A tensor in a file and its place in the model."""

  stored: Stored
  place: Place


def tensors(folder: pathlib.Path, stem: str = 'model') -> list[Stored]:
  """All tensors of `STEM.safetensors`, or of the files that `STEM.safetensors.index.json` names.

  Raises:
    WeightsError: names the file, and the tensor where it is about one.
  """
  single, index = folder / f'{stem}.safetensors', folder / f'{stem}.safetensors.index.json'
  if single.exists() and index.exists():
    raise WeightsError(f'{folder} holds both {single.name} and {index.name}; remove the one that is old.')
  if index.exists():
    return _indexed(index)
  if not single.exists():
    raise WeightsError(
      f'{folder} holds neither {single.name} nor {index.name}; point to a folder in Hugging Face form.'
    )
  return list(read_header(single).values())


def _indexed(index: pathlib.Path) -> list[Stored]:
  wanted = _weight_map(index)
  headers: dict[str, dict[str, Stored]] = {}
  for name, file in sorted(wanted.items()):
    if file in headers:
      continue
    path = index.parent / file
    if pathlib.PurePath(file).name != file:
      raise WeightsError(f'{index} names {file!r} for {name}, which is no file of that folder; {AGAIN}')
    if not path.exists():
      raise WeightsError(f'{index.name} names {file} for {name}, and {path} does not exist; fetch that file.')
    headers[file] = read_header(path)
  for name, file in wanted.items():
    if name not in headers[file]:
      raise WeightsError(f'{index} says that {file} holds {name}, and it does not; {AGAIN}')
  for file, header in headers.items():
    for name in header:
      if name not in wanted:
        raise WeightsError(f'{index.parent / file} holds {name}, which {index.name} does not list; {AGAIN}')
      if wanted[name] != file:
        raise WeightsError(f'{index.parent / file} holds {name} again; {wanted[name]} has it too; {AGAIN}')
  return [stored for header in headers.values() for stored in header.values()]


def _weight_map(index: pathlib.Path) -> dict[str, str]:
  try:
    found: Any = json.loads(index.read_text())['weight_map']
  except (ValueError, TypeError, KeyError, RecursionError):
    found = None
  if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
    raise WeightsError(f'{index} is no index of tensors: it has no weight_map from names to files; {AGAIN}')
  return found


def match(
  folder: pathlib.Path, config: DecoderConfig, shapes: Mapping[str, Sequence[int]]
) -> tuple[list[Match], list[tuple[Stored, Stored]]]:
  """The place of every tensor of a folder, in the order in which files hold them.

  Args:
    folder: in Hugging Face form.
    config: of its model.
    shapes: of the model's leaves, by path.

  Returns:
    The matches, and pairs of tensors that must be equal.

  Raises:
    WeightsError: a tensor is unknown, missing, doubled, misshapen or no float of a known kind.
  """
  table, repeated = places(config), copies(config)
  seen: dict[str, Stored] = {}
  for stored in tensors(folder):
    name = canonical(stored.name)
    if name in seen:
      raise WeightsError(f'{stored.path} holds {stored.name} again; {seen[name].path.name} had it first.')
    seen[name] = stored
    if name not in table and name not in repeated:
      raise WeightsError(f'{stored.path} holds {stored.name}, which a {config.architecture} does not have.')
    check_dtype(stored)
    place = table[repeated.get(name, name)]
    check_shape(stored, file_shape(place, shapes[place.leaf]))
  if missing := [name for name in table if name not in seen]:
    more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
    raise WeightsError(f'{folder} lacks {missing[0]}{more}; the copy is incomplete.')
  pairs = [(seen[name], seen[of]) for name, of in repeated.items() if name in seen]
  found = [Match(seen[name], table[name]) for name in table]
  return sorted(found, key=lambda one: (one.stored.path, one.stored.start)), pairs


def file_shape(place: Place, leaf: Sequence[int]) -> tuple[int, ...]:
  """The shape of a tensor in a file, of its leaf's shape here."""
  own = tuple(leaf[len(place.index) :])
  return place.shape or (own[::-1] if place.transposed else own)


def check_dtype(stored: Stored) -> None:
  """Raises WeightsError unless the tensor is of a float that can be read."""
  if stored.dtype not in DTYPES:
    known = ', '.join(DTYPES)
    raise WeightsError(f'{stored.path} holds {stored.name} as {stored.dtype}; supported are {known}.')


def check_shape(stored: Stored, wanted: tuple[int, ...]) -> None:
  """Raises WeightsError unless the tensor has the shape."""
  if stored.shape != wanted:
    raise WeightsError(
      f'{stored.path} holds {stored.name} with shape {list(stored.shape)}; '
      f'the config asks for {list(wanted)}.'
    )
