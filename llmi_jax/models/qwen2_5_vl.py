"""Qwen2.5-VL: `Qwen2_5_VLForConditionalGeneration`, a decoder with M-RoPE and a vision tower."""

from typing import Any

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import fields as shared
from llmi_jax.models import vision
from llmi_jax.models.config import DecoderConfig

ARCHITECTURE = 'Qwen2_5_VLForConditionalGeneration'


def read(fields: shared.Fields) -> DecoderConfig:
  """A config from the fields of a `config.json`; those of the text stand in `text_config` or beside it."""
  text = dict(fields) | dict(fields.get('text_config') or {})
  if 'vision_config' not in fields:
    raise ConfigError(f"The model config has no 'vision_config'; is it the config.json of a {ARCHITECTURE}?")
  tower = vision.from_hf(fields['vision_config'])
  if tower.out != text.get('hidden_size'):
    raise ConfigError(
      f'The vision tower makes features of {tower.out} and the decoder is {text.get("hidden_size")} wide; '
      'out_hidden_size must be hidden_size.'
    )
  return shared.read_dense(
    ARCHITECTURE,
    text,
    qk_norm=False,
    qkv_bias=True,
    tied=bool(fields.get('tie_word_embeddings', text.get('tie_word_embeddings', False))),
    vision=tower,
    image_token=fields.get('image_token_id', 151_655),
    **shared.layer_windows(text),
  )


def write(config: DecoderConfig) -> dict[str, Any]:
  """The fields of a `config.json`."""
  assert config.vision is not None
  text = shared.write_dense(config) | {'model_type': 'qwen2_5_vl_text'}
  del text['head_dim'], text['tie_word_embeddings']
  return {
    'architectures': [ARCHITECTURE],
    'model_type': 'qwen2_5_vl',
    'image_token_id': config.image_token,
    'tie_word_embeddings': config.tied,
    'text_config': text,
    'vision_config': vision.to_hf(config.vision),
  }
