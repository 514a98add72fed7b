"""The shape of a decoder, read from the fields of a Hugging Face `config.json`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from llmi_jax.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Static numbers of a decoder; hashable.

  Attributes:
    architecture: the registry's name, such as `Qwen3ForCausalLM`.
    vocab: V, rows of the embedding.
    width: D.
    ff: F.
    layers: L.
    heads: N query heads.
    kv_heads: K key/value heads.
    head_dim: H, independent of `width`.
    rope_theta: base of the rotary angles.
    norm_eps: of every RMS norm.
    tied: whether the unembedding is the embedding.
    qk_norm: whether queries and keys are normed per head.
    max_length: positions the model was made for.
  """

  architecture: str
  vocab: int
  width: int
  ff: int
  layers: int
  heads: int
  kv_heads: int
  head_dim: int
  rope_theta: float = 1e6
  norm_eps: float = 1e-6
  tied: bool = True
  qk_norm: bool = True
  max_length: int = 40_960

  def __post_init__(self):
    if self.heads % self.kv_heads:
      raise ConfigError(
        f'{self.heads} query heads cannot share {self.kv_heads} key/value heads evenly; '
        'make num_attention_heads a multiple of num_key_value_heads.'
      )


def from_hf(fields: Mapping[str, Any]) -> DecoderConfig:
  """Reads a Hugging Face config; both spellings of the rotary base are accepted.

  Raises:
    ConfigError: a field is missing or its value is not supported.
  """
  try:
    architecture = fields['architectures'][0]
    rope = fields.get('rope_parameters') or fields.get('rope_scaling') or {}
    heads = fields['num_attention_heads']
    config = DecoderConfig(
      architecture=architecture,
      vocab=fields['vocab_size'],
      width=fields['hidden_size'],
      ff=fields['intermediate_size'],
      layers=fields['num_hidden_layers'],
      heads=heads,
      kv_heads=fields.get('num_key_value_heads') or heads,
      head_dim=fields.get('head_dim') or fields['hidden_size'] // heads,
      rope_theta=float(rope.get('rope_theta') or fields.get('rope_theta') or 10_000.0),
      norm_eps=fields['rms_norm_eps'],
      tied=fields.get('tie_word_embeddings', False),
      qk_norm=architecture.startswith('Qwen3'),
      max_length=fields.get('max_position_embeddings', 32_768),
    )
  except KeyError as error:
    raise ConfigError(f'The model config has no {error.args[0]!r}; is it a Qwen3 config.json?') from None
  kind = rope.get('rope_type') or rope.get('type') or 'default'
  if kind != 'default':
    raise ConfigError(f'The model config asks for {kind!r} rotary scaling; supported is default.')
  if fields.get('hidden_act', 'silu') != 'silu':
    raise ConfigError(f'The model config asks for hidden_act={fields["hidden_act"]!r}; supported is silu.')
  return config
