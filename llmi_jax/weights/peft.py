"""LoRA adapters in the form of the library PEFT: `adapter_config.json` and `adapter_model.safetensors`.

Experts are written one by one (`mlp.experts.3.gate_proj`), as PEFT has them for transformers 4; PEFT 0.21
makes them the fused parameters of transformers 5 as it loads. Both forms are read (see `fused`).

PEFT tells experts by the endings of names, and expects the adapters of their gate and up projections inside
those of their down projections. So it loads adapters of experts on all three or on down projections alone,
and none on the MLPs of dense layers of a model with experts; others it leaves out, with a warning at most.
Writing such ones is refused.
"""

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax.core.errors import ConfigError, WeightsError
from llmi_jax.models import lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.linear import Adapter
from llmi_jax.models.names import ALIASES, Place, canonical, places
from llmi_jax.models.sharding import Layout, shardings
from llmi_jax.weights import format as files
from llmi_jax.weights import fused
from llmi_jax.weights.catalogue import check_dtype, tensors
from llmi_jax.weights.fused import Pair
from llmi_jax.weights.save import fetch, new_folder, write_json

M = TypeVar('M')
CONFIG, STEM, FRONT = 'adapter_config.json', 'adapter_model', 'base_model.model.'
# Fields that do not change what the tensors mean, or that are read here.
READ = {
  *('peft_type', 'r', 'lora_alpha', 'use_rslora', 'rank_pattern', 'alpha_pattern', 'target_parameters'),
  *(
    'init_lora_weights',
    'bias',
    'target_modules',
    'exclude_modules',
    'layers_to_transform',
    'layers_pattern',
  ),
  *('task_type', 'auto_mapping', 'base_model_name_or_path', 'revision', 'inference_mode', 'peft_version'),
  *('lora_dropout', 'megatron_core', 'megatron_config', 'qalora_group_size', 'eva_config', 'runtime_config'),
}
# Ways to begin that leave the base as it is.
PLAIN_INITS = (True, False, None, 'gaussian', 'eva', 'orthogonal')


class Module(NamedTuple):
  """What is one linear map of transformers: a part of a stacked one here.

  Attributes:
    linear: path of the stacked map.
    at: its index there.
  """

  linear: str
  at: tuple[int, ...]


def modules(config: DecoderConfig) -> dict[str, Module]:
  """Name in transformers → every linear map that may have an adapter."""
  found = (
    (name.removesuffix('.weight'), place)
    for name, place in places(config).items()
    # A tensor with a shape of its own is a convolution there.
    if place.leaf.endswith('.w') and not place.shape
  )
  return {name: Module(place.leaf.removesuffix('.w'), place.index) for name, place in found}


def save_adapter(model: Any, config: DecoderConfig, folder: str | pathlib.Path, base: str = '') -> None:
  """Makes `folder` with the model's adapters in float32, whole or not at all.

  Args:
    model: with adapters of one rank and scale.
    config: its shape.
    folder: must not exist or be empty.
    base: name or path of the model that they belong to.

  Raises:
    ConfigError: there are no adapters, they differ in rank, PEFT has no form for them, the folder is in use.
    StorageError: the folder cannot be written.
  """
  adapters, table, dtype = lora.adapters(model), modules(config), np.dtype(np.float32)
  kinds = {(adapter.a.shape[-1], adapter.scale) for adapter in adapters.values()}
  if len(kinds) != 1:
    raise ConfigError(f'The model has LoRA adapters of {len(kinds)} ranks or scales; PEFT files need one.')
  rank, scale = kinds.pop()
  if strange := sorted(adapters.keys() - {module.linear for module in table.values()}):
    raise ConfigError(f'PEFT has no adapter of the kind of {strange[0]}; merge it instead.')
  chosen = {name: module for name, module in table.items() if module.linear in adapters}
  known = [name.removesuffix('.weight') for name in places(config) if name.endswith('.weight')]
  fields = _config(rank, scale * rank, _targets(known, list(chosen)), base)
  leaves, shapes = [], []
  for name, (linear, at) in chosen.items():
    for letter, leaf in (('A', adapters[linear].a), ('B', adapters[linear].b)):
      leaves.append((leaf[...], Place(linear, at, transposed=True)))
      shapes.append(
        (f'{FRONT}{in_memory(name, config)}.lora_{letter}.weight', dtype, tuple(leaf.shape[:-3:-1]))
      )
  arrays = (fetch(leaf, place, shape, dtype) for (leaf, place), (_, _, shape) in zip(leaves, shapes))
  with new_folder(folder) as made:
    files.write(made / f'{STEM}.safetensors', shapes, arrays)
    write_json(made / CONFIG, fields)


def in_memory(name: str, config: DecoderConfig) -> str:
  """What transformers calls a part of a loaded model, which for one that sees is not what files call it."""
  for newer, older in ALIASES.items() if config.vision is not None else ():
    if name.startswith(older):
      return newer + name.removeprefix(older)
  return name


def _config(rank: int, alpha: float, targets: list[str], base: str) -> dict[str, Any]:
  return {
    'peft_type': 'LORA',
    'task_type': 'CAUSAL_LM',
    'base_model_name_or_path': base or None,
    'r': rank,
    'lora_alpha': int(alpha) if float(alpha).is_integer() else alpha,
    'lora_dropout': 0.0,
    'bias': 'none',
    'fan_in_fan_out': False,
    'init_lora_weights': True,
    'target_modules': targets,
    'inference_mode': True,
  }


def _targets(known: list[str], chosen: list[str]) -> list[str]:
  """Endings of names by which PEFT finds exactly the chosen modules.

  Raises:
    ConfigError: there are none.
  """
  projections = {'gate_proj', 'up_proj', 'down_proj'}
  experts = {_ending(name) for name in chosen if '.experts.' in name}
  others = {_ending(name) for name in chosen if '.experts.' not in name}
  if any('.experts.' in name for name in known) and projections & others:
    raise ConfigError('PEFT cannot have adapters on dense MLPs of a model with experts; merge them instead.')
  if experts not in (set(), {'down_proj'}, projections):
    raise ConfigError(
      'PEFT has adapters of experts on gate, up and down projections or on down alone; merge them instead.'
    )
  found = sorted(experts)
  for ending in sorted(others):
    own = [name for name in chosen if _ending(name) == ending]
    everywhere = len(own) == sum(_ending(name) == ending for name in known)
    # In memory other words may stand between `model.` and what follows it.
    found += [ending] if everywhere else [name.removeprefix('model.') for name in own]
  return found


def _ending(name: str) -> str:
  """The last word of a name, and numbers behind it."""
  return (re.search(r'[^.]+(\.\d+)*$', name) or [name])[0]


def load_adapter(
  model: M, config: DecoderConfig, folder: str | pathlib.Path, layout: Layout | None = None
) -> M:
  """The model with a folder's adapters, in the dtype of what they are added to.

  Args:
    model: without adapters.
    config: its shape.
    folder: as PEFT writes it.
    layout: where the model lives; None for one device.

  Raises:
    WeightsError: names file and tensor that are unknown, missing, cut or misshapen, or the field of the
      config that is not supported.
  """
  folder = pathlib.Path(folder)
  fields, table = _read_config(folder), modules(config)
  pairs = _pairs(folder, fields, config)
  parts: dict[str, dict[tuple[int, ...], str]] = {}
  for name, module in table.items():
    parts.setdefault(module.linear, {})[module.at] = name
  linears, made = dict(lora.linears(model)), {}
  for linear in dict.fromkeys(table[name].linear for name in pairs):
    w = linears[linear].w
    made[linear] = _stack(folder, parts[linear], pairs, w.shape, w.dtype)
  model = lora.put(model, made)
  return model if layout is None else jax.device_put(model, shardings(model, layout, config))


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / CONFIG
  try:
    fields = json.loads(path.read_text())
  except OSError as error:
    raise WeightsError(f'{path} cannot be read ({error.strerror}); name the folder of an adapter.') from error
  except (ValueError, RecursionError) as error:
    raise WeightsError(f'{path} is not JSON ({error}); copy the file again.') from error
  if not isinstance(fields, dict) or fields.get('peft_type') != 'LORA':
    raise WeightsError(f'{path} does not describe a LoRA adapter; others are not supported.')
  strange = [name for name, value in fields.items() if value and name not in READ]
  strange += ['bias'] if fields.get('bias', 'none') != 'none' else []
  strange += ['init_lora_weights'] if fields.get('init_lora_weights', True) not in PLAIN_INITS else []
  if strange:
    asked = f'{strange[0]}={fields[strange[0]]!r}'
    raise WeightsError(f'{path} asks for {asked}, which is not supported; merge it with PEFT first.')
  return fields


def _pairs(folder: pathlib.Path, fields: Mapping[str, Any], config: DecoderConfig) -> dict[str, Pair]:
  """Name in transformers → adapter, those of fused experts taken apart."""
  known = modules(config)
  made: dict[str, Pair] = {}
  together: dict[str, Pair] = {}
  for name, halves in _halves(folder, config, known).items():
    if len(halves) == 1:
      one = next(iter(halves.values()))
      raise WeightsError(f'{one.path} holds {one.name} without its other half; the copy is incomplete.')
    a, b = (files.whole(halves[letter]) for letter in 'AB')
    if a.ndim != 2 or b.ndim != 2:
      raise WeightsError(f'{halves["A"].path} holds {halves["A"].name} with {a.ndim} axes; adapters have 2.')
    if name in known:
      made[name] = Pair(a.T, b.T, _scale(fields, name, a.shape[0]))
      continue
    name, experts = fused.parameter(name, fields, halves['A']), config.experts
    assert experts is not None
    together[name] = Pair(a, b, _scale(fields, name, a.shape[0] // experts.count))
  if config.experts is not None:
    made |= fused.apart(together, config.experts)
  if not made:
    raise WeightsError(f'{folder} holds an adapter without tensors; copy it again.')
  return made


def _halves(
  folder: pathlib.Path, config: DecoderConfig, known: Mapping[str, Module]
) -> dict[str, dict[str, files.Stored]]:
  """Name in transformers → its tensors A and B."""
  containers = {name.rpartition('.experts.')[0] + '.experts' for name in known if '.experts.' in name}
  halves: dict[str, dict[str, files.Stored]] = {}
  for stored in tensors(folder, STEM):
    found = re.fullmatch(re.escape(FRONT) + r'(.+)\.lora_([AB])\.weight', stored.name)
    name = canonical(found[1]) if found else ''
    if not found or (name not in known and name.removesuffix('.base_layer') not in containers):
      raise WeightsError(
        f'{stored.path} holds {stored.name}, which a {config.architecture} has no place for.'
      )
    check_dtype(stored)
    own = halves.setdefault(name, {})
    if found[2] in own:
      raise WeightsError(f'{stored.path} holds {stored.name} again; {own[found[2]].name} is the same.')
    own[found[2]] = stored
  return halves


def _scale(fields: Mapping[str, Any], name: str, rank: int) -> float:
  """The factor of an adapter; the rank is what its tensors have."""
  try:
    patterns = dict(fields.get('alpha_pattern') or {}).items()
    fits = (alpha for key, alpha in patterns if re.match(rf'(.*\.)?({key})$', name))
    alpha = float(next(fits, fields['lora_alpha']))
  except (KeyError, TypeError, ValueError, re.error) as error:
    raise WeightsError(
      f'{CONFIG} has no usable lora_alpha and alpha_pattern ({error}); mend them.'
    ) from error
  return alpha / max(1, rank) ** (0.5 if fields.get('use_rslora') else 1.0)


def _stack(
  folder: pathlib.Path, names: Mapping[tuple[int, ...], str], pairs: Mapping[str, Pair], shape, dtype
) -> Adapter:
  """One adapter of all modules that are stacked here."""
  if missing := [name for name in names.values() if name not in pairs]:
    raise WeightsError(f'{folder} lacks an adapter of {missing[0]}; here all layers have one, or none.')
  first = pairs[next(iter(names.values()))]
  *front, inputs, outputs = shape
  rank = first.a.shape[1]
  a, b = np.empty((*front, inputs, rank), np.float32), np.empty((*front, rank, outputs), np.float32)
  for at, name in names.items():
    pair = pairs[name]
    if (pair.a.shape, pair.b.shape) != ((inputs, rank), (rank, outputs)):
      found = f'{list(pair.a.shape[::-1])} and {list(pair.b.shape[::-1])}'
      raise WeightsError(
        f'The adapter of {name} in {folder} has shapes {found}; '
        f'{[rank, inputs]} and {[outputs, rank]} are needed.'
      )
    if pair.scale != first.scale:
      raise WeightsError(
        f'The adapter of {name} in {folder} has a scale of its own; merge it with PEFT first.'
      )
    a[at], b[at] = pair.a.astype(np.float32), pair.b.astype(np.float32)
  return Adapter(jnp.asarray(a, dtype), jnp.asarray(b, dtype), first.scale)
