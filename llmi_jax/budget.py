"""What of a run takes how much of a device's memory, from shapes alone; and what to ask for less with."""

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from llmi_jax import course, wiring
from llmi_jax.models import lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.registry import from_hf
from llmi_jax.terminal import geometry
from llmi_jax.terminal.memory import Key
from llmi_jax.update import state as states
from llmi_jax.weights import load
from llmi_jax.wiring import Config

BACKBONES = wiring.ASSETS / 'backbones'
LEAST = 0.05  # of all memory; what takes less is not worth changing


def parts(config: Config, path: str) -> dict[str, float]:
  """Bytes on one device, by part. No weights are read.

  Parameters and what goes with them are reckoned exactly and shared out evenly over the mesh. What updates
  keep for the gradient is an estimate: the compiler's own figure is known once it has compiled.

  Args:
    config: of the run.
    path: of the policy's folder; where there is none, the name of a known backbone does.

  Raises:
    WeightsError: neither is there.
  """
  shape = shape_of(path)
  key = jax.random.key(0)
  model = jax.eval_shape(lambda: Decoder(shape, key))
  chosen = config.policy.lora
  if chosen.rank:
    model = jax.eval_shape(
      lambda model: lora.add(model, key, chosen.rank, chosen.alpha, chosen.targets), model
    )
  params, fixed = lora.split(model, tuple(config.policy.frozen))
  state = jax.eval_shape(partial(states.fresh, optimizer=wiring.optimizer(config)), params)
  whole, shared = _devices(config)
  prompts = course.groups(config)
  kept = 2 * _width(config, 'sampler.cache') * shape.layers * shape.kv_heads * shape.head_dim
  return {
    'parameters': size(params) / whole,
    'frozen parameters': size(fixed) / whole,
    'gradients': size(params) / whole,
    # Away, they come when activations and caches are gone.
    'moments': 0 if wiring.optimizer(config).offload else size(state.optimizer) / whole,
    'reference policy': count(model) * 2 / whole if config.loss.kl and not chosen.rank else 0,
    'generating copy': count(model) * _width(config, 'sampler.compute') / shared,
    'prompt cache': prompts * config.prompt.tokens * kept / whole,
    'reply cache': prompts * config.data.samples * config.sampler.tokens * kept / whole,
    'logits': 2 * 4 * min(config.policy.logits, _tokens(config) * shape.vocab),
    'activations (about)': _activations(shape, config.policy.remat, _tokens(config))
    * _width(config, 'policy.compute'),
  }


def shape_of(path: str) -> DecoderConfig:
  """A policy's shape, from its folder or, where that is not here yet, from those of the known backbones."""
  folder = wiring.policy_folder(path)
  known = BACKBONES / f'{folder.name}.json'
  if not (folder / 'config.json').exists() and known.is_file():
    return from_hf(json.loads(known.read_text()))
  return load.read_config(folder)


def keys(config: Config, wanted: Mapping[str, float]) -> list[Key]:
  """At most three keys that ask for less, those of the largest parts first."""
  found: list[Key] = []
  least = LEAST * sum(wanted.values())
  for part in sorted((part for part in wanted if wanted[part] >= least), key=lambda part: -wanted[part]):
    found += [key for key in _less(config, part) if key.name not in {other.name for other in found}]
  return found[:3]


def size(tree: Any) -> int:
  """Bytes of all leaves."""
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def count(tree: Any) -> int:
  """Numbers in all leaves."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _devices(config: Config) -> tuple[int, int]:
  """Devices that share the learner's copy of the parameters, and those that share the generating one."""
  shared = config.mesh.tensor * config.mesh.expert
  fsdp = config.mesh.fsdp or max(1, jax.device_count() // (shared * config.mesh.replica))
  return shared * fsdp, shared


def _width(config: Config, key: str) -> int:
  """Bytes of a number in the precision that a key names; one that it does not name is the parameters'."""
  return jnp.dtype(wiring.dtype(config, key) or jnp.float32).itemsize


def _tokens(config: Config) -> int:
  """Most tokens of a micro-batch, padding included."""
  chosen, samples = config.optimizer, config.data.samples
  each = config.prompt.tokens + samples * max(chosen.widths)
  prompts = min(chosen.prompts or config.data.prompts, config.data.prompts)
  return max(each, min(prompts * each, chosen.tokens)) if chosen.tokens else prompts * each


def _activations(shape: DecoderConfig, remat: str, tokens: int) -> float:
  """Numbers kept for the gradient: a layer's input alone, or what its matrices were fed as well."""
  ff = shape.ff if shape.experts is None else shape.experts.active * shape.experts.ff
  heads = shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
  layer = {'full': 0, 'dots': heads + 3 * ff, 'attention': 2 * shape.width + heads}
  more = layer.get(remat, 4 * shape.width + 2 * heads + 4 * ff)
  once = 0 if remat == 'none' else 4 * shape.width + 2 * heads + 4 * ff  # one layer's, computed again
  return float(tokens) * (shape.layers * (shape.width + more) + once)


def _less(config: Config, part: str) -> list[Key]:
  """Keys that make a part smaller."""
  chosen = config.optimizer
  if part in ('activations (about)', 'logits'):
    made = []
    if chosen.tokens:
      made.append(Key('optimizer.tokens', chosen.tokens // 2, chosen.tokens))
    elif min(chosen.prompts or config.data.prompts, config.data.prompts) > 1:
      now = min(chosen.prompts or config.data.prompts, config.data.prompts)
      made.append(Key('optimizer.prompts', geometry.divisors(config.data.prompts, now)[0], chosen.prompts))
    if part == 'logits':
      made.insert(0, Key('policy.logits', config.policy.logits // 4, config.policy.logits))
    elif config.policy.remat != 'full':
      made.append(Key('policy.remat', 'full', config.policy.remat))
    return made
  if part in ('reply cache', 'prompt cache'):
    rows, samples = config.sampler.rows, config.data.samples
    half = (rows or config.data.prompts * samples) // 2
    return [Key('sampler.rows', half, rows)] if half >= samples else []
  if part == 'moments' and chosen.moments == 'float32':
    return [Key('optimizer.moments', 'bfloat16_first', chosen.moments)]
  if part == 'reference policy':
    return [Key('loss.kl', 0.0, config.loss.kl)]
  if part in ('parameters', 'gradients', 'moments'):
    rank = config.policy.lora.rank
    return [Key('policy.lora.rank', min(16, max(1, rank // 2)) if rank else 16, rank)] if rank != 1 else []
  return []
