"""Qwen3 with a mixture of experts: `Qwen3MoeForCausalLM`."""

from typing import Any

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import fields as shared
from llmi_jax.models.config import DecoderConfig, Experts

ARCHITECTURE = 'Qwen3MoeForCausalLM'


def read(fields: shared.Fields) -> DecoderConfig:
  """A config from the fields of a `config.json`."""
  bias = bool(fields.get('attention_bias', False))
  count = fields.get('num_hidden_layers', 0)
  window = fields.get('sliding_window') if fields.get('use_sliding_window') else None
  return shared.read_dense(
    ARCHITECTURE,
    fields,
    qkv_bias=bias,
    o_bias=bias,
    experts=_experts(fields),
    # Here all layers have the window, or none.
    **({'window': window, 'windowed': tuple(range(count))} if window else {}),
  )


def _experts(fields: shared.Fields) -> Experts | None:
  step, dense = fields.get('decoder_sparse_step') or 1, fields.get('mlp_only_layers') or ()
  layers = range(fields.get('num_hidden_layers', 0))
  sparse = tuple(i for i in layers if i not in dense and (i + 1) % step == 0)
  count = fields.get('num_experts', fields.get('num_local_experts'))
  if count is None:
    raise ConfigError("The model config has no 'num_experts'; is it the config.json of a Qwen3-MoE?")
  try:
    numbers = fields['num_experts_per_tok'], fields['moe_intermediate_size']
  except KeyError as error:
    raise ConfigError(f'The model config has no {error.args[0]!r}; add it.') from None
  return Experts(count, *numbers, fields.get('norm_topk_prob', False), sparse) if sparse and count else None


def write(config: DecoderConfig) -> dict[str, Any]:
  """The fields of a `config.json`."""
  experts = config.experts or Experts(1, 1, config.ff, False, ())
  dense = [i for i in range(config.layers) if i not in experts.sparse]
  return shared.write_dense(config) | {
    'architectures': [ARCHITECTURE],
    'model_type': 'qwen3_moe',
    'attention_bias': config.qkv_bias,
    'num_experts': experts.count,
    'num_experts_per_tok': experts.active,
    'moe_intermediate_size': experts.ff,
    'norm_topk_prob': experts.normalized,
    'decoder_sparse_step': 1,
    'mlp_only_layers': dense,
  }
