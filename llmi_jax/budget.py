"""What of a run takes how much of a device's memory, from shapes alone; and what to ask for less with."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from llmi_jax import wiring
from llmi_jax.models import lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.terminal import geometry
from llmi_jax.terminal.memory import Key
from llmi_jax.update import state as states
from llmi_jax.weights import load
from llmi_jax.wiring import Config

_SIZES = {'float32': 4, 'bfloat16': 2}


def parts(config: Config, folder: str) -> dict[str, float]:
  """Bytes on one device, by part. No weights are read.

  Parameters and what goes with them are reckoned exactly and shared out evenly over the mesh. What updates
  keep for the gradient is an estimate: the compiler's own figure is known once it has compiled.

  Args:
    config: of the run.
    folder: the policy's.

  Raises:
    WeightsError: the folder has no config.
  """
  shape = load.read_config(wiring.policy_folder(folder))
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
  compute = _SIZES[config.policy.compute]
  return {
    'parameters': size(params) / whole,
    'frozen parameters': size(fixed) / whole,
    'gradients': size(params) / whole,
    'moments': size(state.optimizer) / whole,
    'reference policy': count(model) * 2 / whole if config.loss.kl and not chosen.rank else 0,
    'generating copy': size(model) / shared,
    'prompt cache': _cache(shape, config.data.prompts * config.prompt.tokens) / whole,
    'reply cache': _cache(shape, config.data.prompts * config.data.samples * config.sampler.tokens) / whole,
    'logits': 2 * 4 * min(config.policy.logits, _tokens(config) * shape.vocab),
    'activations (about)': _activations(shape, config.policy.remat, _tokens(config)) * compute,
  }


def keys(config: Config, wanted: Mapping[str, float]) -> list[Key]:
  """At most three keys that ask for less, those of the largest parts first."""
  found: list[Key] = []
  for part, _ in sorted(wanted.items(), key=lambda item: -item[1]):
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


def _cache(shape: DecoderConfig, tokens: int) -> float:
  return 2.0 * 4 * shape.layers * shape.kv_heads * shape.head_dim * tokens


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
    name, now = (
      ('samples', config.data.samples) if config.data.samples > 4 else ('prompts', config.data.prompts)
    )
    return [Key(f'data.{name}', max(2 if name == 'samples' else 1, now // 2), now)] if now > 1 else []
  if part == 'moments' and chosen.moments == 'float32':
    return [Key('optimizer.moments', 'bfloat16_first', chosen.moments)]
  if part == 'reference policy':
    return [Key('loss.kl', 0.0, config.loss.kl)]
  if part in ('parameters', 'gradients', 'moments') and not config.policy.lora.rank:
    return [Key('policy.lora.rank', 16, 0)]
  return []
