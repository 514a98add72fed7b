"""Small policies of the forms that large recipes train: what `runlocal` puts in a large one's place.

`experts` is the built-in policy with its feed-forward maps copied into experts: at first it writes as the
original does. `seeing` has a vision tower and random weights; it shows that everything runs, and learns
nothing worth having.
"""

import dataclasses
import json
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp

from llmi_jax import wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.models.config import DecoderConfig, Experts
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.registry import from_hf
from llmi_jax.models.sharding import leaf_name
from llmi_jax.text import tokens
from llmi_jax.weights import load, save

SHIPPED = 'builtin:tiny'
EXPERTS, ACTIVE = 4, 2
TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
PROCESSOR = {
  'image_processor_type': 'Qwen2VLImageProcessor',
  'patch_size': 8,
  'temporal_patch_size': 2,
  'merge_size': 2,
  'min_pixels': 32 * 32,
  'max_pixels': 96 * 96,
}


def make(folder: pathlib.Path, form: str, seed: int = 0) -> None:
  """Writes a small policy of a form; the folder must not exist or be empty.

  Raises:
    ConfigError: the form is unknown.
  """
  config = shape(form)
  save.check_free(folder)
  shipped = wiring.load_policy(SHIPPED)
  model = jax.jit(lambda key: Decoder(config, key))(jax.random.key(seed))
  if form == 'experts':
    _save(folder, _copied(model, shipped.model), config, shipped, ('chat_template.jinja',), {})
  else:
    written = {'chat_template.jinja': TEMPLATE, 'preprocessor_config.json': json.dumps(PROCESSOR)}
    _save(folder, model, config, shipped, (), written)


def shape(form: str) -> DecoderConfig:
  """The shape of a form's policy.

  Raises:
    ConfigError: the form is unknown.
  """
  shapes = {'experts': _experts, 'seeing': _seeing}
  if form not in shapes:
    raise ConfigError(f'config.policy.form is {form!r}; known are {", ".join(shapes)} and empty.')
  return shapes[form](load.read_config(wiring.policy_folder(SHIPPED)))


def _experts(dense: DecoderConfig) -> DecoderConfig:
  """The built-in policy, each of its feed-forward maps replaced by `EXPERTS` experts."""
  experts = Experts(EXPERTS, ACTIVE, dense.ff, True, tuple(range(dense.layers)))
  return dataclasses.replace(dense, architecture='Qwen3MoeForCausalLM', experts=experts)


def _copied(fresh: Decoder, dense: Decoder) -> Decoder:
  """A mixture whose every expert is the dense policy's feed-forward map; its routers stay as they are."""
  known = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(dense)}

  def fill(path: Any, leaf: jax.Array) -> jax.Array:
    name = leaf_name(path)
    if '.moe.router.' in name:
      return leaf
    if '.moe.' in name:
      copied = known[name.replace('.moe.', '.mlp.')]
      return jnp.broadcast_to(copied[:, None], leaf.shape)
    return known[name]

  return jax.tree_util.tree_map_with_path(fill, fresh)


def _seeing(dense: DecoderConfig) -> DecoderConfig:
  """A small decoder with a vision tower, over the built-in tokenizer."""
  special = tokens.load(wiring.policy_folder(SHIPPED)).specials
  width = 96
  text = {
    'hidden_size': width,
    'intermediate_size': 192,
    'num_hidden_layers': 3,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'vocab_size': dense.vocab,
    'rms_norm_eps': 1e-6,
    'max_position_embeddings': 4096,
    'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6, 'mrope_section': [4, 4, 4]},
  }
  tower = {
    'depth': 2,
    'hidden_size': 64,
    'intermediate_size': 96,
    'num_heads': 2,
    'out_hidden_size': width,
    'patch_size': PROCESSOR['patch_size'],
    'spatial_merge_size': PROCESSOR['merge_size'],
    'temporal_patch_size': PROCESSOR['temporal_patch_size'],
    'window_size': 32,
    'fullatt_block_indexes': [1],
  }
  fields = {
    'architectures': ['Qwen2_5_VLForConditionalGeneration'],
    'text_config': text,
    'vision_config': tower,
    'tie_word_embeddings': False,
    'image_token_id': special['<|image_pad|>'],
    'video_token_id': special['<|video_pad|>'],
    'vision_start_token_id': special['<|vision_start|>'],
    'vision_end_token_id': special['<|vision_end|>'],
  }
  return from_hf(fields)


def _save(
  folder: pathlib.Path,
  model: Decoder,
  config: DecoderConfig,
  shipped: wiring.Policy,
  copied: tuple[str, ...],
  written: dict[str, str],
) -> None:
  """Weights, beside the built-in policy's tokenizer, further files of its and such with given texts."""
  with tempfile.TemporaryDirectory() as kept:
    side = pathlib.Path(kept)
    for name in ('tokenizer.json', 'tokenizer_config.json', 'generation_config.json', *copied):
      save.copy(shipped.folder / name, side / name)
    for name, text in written.items():
      (side / name).write_text(text)
    tokenizer = tokens.load(side)
    extra = {'tokenizer_digest': tokenizer.digest, 'eos_token_id': tokenizer.specials['<|im_end|>']}
    save.save_pretrained(model, config, folder, side, extra=extra)
