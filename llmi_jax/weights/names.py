"""Which tensor of a Hugging Face file is which leaf of a decoder.

Linear layers are stored [out, in] there and [in, out] here; a leaf of the stacked blocks gathers one tensor
per layer.
"""

import dataclasses

from llmi_jax.models.config import DecoderConfig

# leaf path inside `Decoder.blocks` → (name inside a layer, transposed)
LAYER = {
  'attention_norm': ('input_layernorm.weight', False),
  'attention.q': ('self_attn.q_proj.weight', True),
  'attention.k': ('self_attn.k_proj.weight', True),
  'attention.v': ('self_attn.v_proj.weight', True),
  'attention.o': ('self_attn.o_proj.weight', True),
  'attention.q_norm': ('self_attn.q_norm.weight', False),
  'attention.k_norm': ('self_attn.k_norm.weight', False),
  'mlp_norm': ('post_attention_layernorm.weight', False),
  'mlp.gate': ('mlp.gate_proj.weight', True),
  'mlp.up': ('mlp.up_proj.weight', True),
  'mlp.down': ('mlp.down_proj.weight', True),
}
WHOLE = {
  'embedding': ('model.embed_tokens.weight', False),
  'norm': ('model.norm.weight', False),
  'head': ('lm_head.weight', True),
}


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a tensor belongs.

  Attributes:
    leaf: dotted path in the model, such as `blocks.mlp.up`.
    layer: index on the stacked axis; None for leaves that are not stacked.
    transposed: whether the file holds the transpose.
  """

  leaf: str
  layer: int | None
  transposed: bool


def places(config: DecoderConfig) -> dict[str, Place]:
  """Every tensor name that a file for `config` holds."""
  table = {
    name: Place(leaf, None, t) for leaf, (name, t) in WHOLE.items() if leaf != 'head' or not config.tied
  }
  for leaf, (name, transposed) in LAYER.items():
    if config.qk_norm or leaf not in ('attention.q_norm', 'attention.k_norm'):
      for layer in range(config.layers):
        table[f'model.layers.{layer}.{name}'] = Place(f'blocks.{leaf}', layer, transposed)
  return table
