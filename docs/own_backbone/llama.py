"""Llama: `LlamaForCausalLM`, dense, without norms of queries and keys."""

from typing import Any

from llmi_jax.models import fields as shared
from llmi_jax.models.config import DecoderConfig

ARCHITECTURE = 'LlamaForCausalLM'


def read(fields: shared.Fields) -> DecoderConfig:
  """A config from the fields of a `config.json`."""
  bias = bool(fields.get('attention_bias', False))
  return shared.read_dense(ARCHITECTURE, fields, qk_norm=False, qkv_bias=bias, o_bias=bias)


def write(config: DecoderConfig) -> dict[str, Any]:
  """The fields of a `config.json`."""
  own = {'architectures': [ARCHITECTURE], 'model_type': 'llama', 'attention_bias': config.qkv_bias}
  return shared.write_dense(config) | own
