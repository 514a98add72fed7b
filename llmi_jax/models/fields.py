"""Fields of a Hugging Face `config.json` that several architectures share, read and written."""

from collections.abc import Mapping
from typing import Any

from llmi_jax.core.errors import ConfigError
from llmi_jax.models.config import DecoderConfig, Rope
from llmi_jax.models.rope import yarn_attention_factor

Fields = Mapping[str, Any]
KINDS = ('default', 'linear', 'dynamic', 'yarn')


def read_rope(fields: Fields) -> Rope:
  """Rotary angles; both spellings (`rope_theta` beside `rope_scaling`, or `rope_parameters`) are accepted.

  Raises:
    ConfigError: a stretching that is not supported, or one without its numbers.
  """
  rope = fields.get('rope_parameters') or fields.get('rope_scaling') or {}
  kind = rope.get('rope_type') or rope.get('type') or 'default'
  # Older files of vision-language models name their sections here.
  kind = 'default' if kind == 'mrope' else kind
  if kind not in KINDS:
    raise ConfigError(f'The model config asks for {kind!r} rotary scaling; supported are {", ".join(KINDS)}.')
  if rope.get('partial_rotary_factor', fields.get('partial_rotary_factor')) not in (None, 1.0):
    raise ConfigError('The model config asks for partial_rotary_factor; only whole heads are rotated here.')
  if kind != 'default' and not rope.get('factor'):
    raise ConfigError(f'The model config asks for {kind!r} rotary scaling without a factor; add it.')
  factor = float(rope.get('factor') or 1.0)
  original = rope.get('original_max_position_embeddings') if kind == 'yarn' else None
  attention = rope.get('attention_factor')
  if kind == 'yarn' and attention is None:
    attention = yarn_attention_factor(factor, rope.get('mscale') or 0.0, rope.get('mscale_all_dim') or 0.0)
  return Rope(
    theta=float(rope.get('rope_theta') or fields.get('rope_theta') or 10_000.0),
    kind=kind,
    factor=factor,
    original=int(original or fields.get('max_position_embeddings', 32_768)),
    attention_factor=1.0 if attention is None else float(attention),
    beta_fast=float(rope.get('beta_fast') or 32.0),
    beta_slow=float(rope.get('beta_slow') or 1.0),
    truncate=bool(rope.get('truncate', True)),
    sections=tuple(rope.get('mrope_section') or ()),
  )


def write_rope(rope: Rope) -> dict[str, Any]:
  """The field `rope_parameters`."""
  found: dict[str, Any] = {'rope_type': rope.kind, 'rope_theta': rope.theta}
  if rope.kind != 'default':
    found['factor'] = rope.factor
  if rope.kind == 'yarn':
    found |= {
      'original_max_position_embeddings': rope.original,
      'attention_factor': rope.attention_factor,
      'beta_fast': rope.beta_fast,
      'beta_slow': rope.beta_slow,
      'truncate': rope.truncate,
    }
  if rope.sections:
    found['mrope_section'] = list(rope.sections)
  return found


def read_dense(architecture: str, fields: Fields, **own: Any) -> DecoderConfig:
  """What all Qwen decoders share.

  Args:
    architecture: the registry's name.
    fields: of the `config.json`.
    **own: further fields of `DecoderConfig`.

  Raises:
    ConfigError: a field is missing or its value is not supported.
  """
  if fields.get('hidden_act', 'silu') != 'silu':
    raise ConfigError(f'The model config asks for hidden_act={fields["hidden_act"]!r}; supported is silu.')
  try:
    heads = fields['num_attention_heads']
    return DecoderConfig(
      architecture=architecture,
      vocab=fields['vocab_size'],
      width=fields['hidden_size'],
      ff=fields['intermediate_size'],
      layers=fields['num_hidden_layers'],
      heads=heads,
      kv_heads=fields.get('num_key_value_heads') or heads,
      head_dim=fields.get('head_dim') or fields['hidden_size'] // heads,
      rope=read_rope(fields),
      norm_eps=fields['rms_norm_eps'],
      max_length=fields.get('max_position_embeddings', 32_768),
      **{'tied': fields.get('tie_word_embeddings', False)} | own,
    )
  except KeyError as error:
    raise ConfigError(
      f'The model config has no {error.args[0]!r}; is it the config.json of a {architecture}?'
    ) from None


def layer_windows(fields: Fields) -> dict[str, Any]:
  """`window` and `windowed` of a model whose layers differ, by `layer_types` or `max_window_layers`."""
  window = fields.get('sliding_window') if fields.get('use_sliding_window') else None
  if not window:
    return {}
  count = fields['num_hidden_layers']
  first = fields.get('max_window_layers', 28)
  kinds = fields.get('layer_types') or ['sliding_attention' if i >= first else '' for i in range(count)]
  windowed = tuple(i for i, kind in enumerate(kinds) if kind == 'sliding_attention')
  return {'window': window, 'windowed': windowed} if windowed else {}


def write_dense(config: DecoderConfig) -> dict[str, Any]:
  """The fields of `read_dense` and `layer_windows`."""
  kinds = ['sliding_attention' if i in config.windowed else 'full_attention' for i in range(config.layers)]
  return {
    'vocab_size': config.vocab,
    'hidden_size': config.width,
    'intermediate_size': config.ff,
    'num_hidden_layers': config.layers,
    'num_attention_heads': config.heads,
    'num_key_value_heads': config.kv_heads,
    'head_dim': config.head_dim,
    'hidden_act': 'silu',
    'rms_norm_eps': config.norm_eps,
    'rope_parameters': write_rope(config.rope),
    'tie_word_embeddings': config.tied,
    'max_position_embeddings': config.max_length,
    'use_sliding_window': bool(config.windowed),
    'sliding_window': config.window or None,
    'layer_types': kinds,
  }
