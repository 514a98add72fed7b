"""Qwen3, dense: `Qwen3ForCausalLM`."""

from typing import Any

from llmi_jax.models import fields as shared
from llmi_jax.models.config import DecoderConfig

ARCHITECTURE = 'Qwen3ForCausalLM'


def read(fields: shared.Fields) -> DecoderConfig:
  """A config from the fields of a `config.json`."""
  bias = bool(fields.get('attention_bias', False))
  return shared.read_dense(ARCHITECTURE, fields, qkv_bias=bias, o_bias=bias, **shared.layer_windows(fields))


def write(config: DecoderConfig) -> dict[str, Any]:
  """The fields of a `config.json`."""
  own = {'architectures': [ARCHITECTURE], 'model_type': 'qwen3', 'attention_bias': config.qkv_bias}
  return own | shared.write_dense(config)
