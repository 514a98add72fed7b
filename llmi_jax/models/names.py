"""Which tensor of a Hugging Face file is which leaf of a policy; total in both directions.

Linear layers are stored [out, in] there and [in, out] here; a stacked leaf gathers one tensor per layer, and
one per layer and expert.
"""

import dataclasses
from collections.abc import Iterator

from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import layer_spans
from llmi_jax.models.vision import LAYER, PATCH, TOP

# leaf path inside a `Block` → (name inside a layer, transposed)
ATTENTION = {
  'attention_norm': ('input_layernorm.weight', False),
  'attention.q.w': ('self_attn.q_proj.weight', True),
  'attention.k.w': ('self_attn.k_proj.weight', True),
  'attention.v.w': ('self_attn.v_proj.weight', True),
  'attention.o.w': ('self_attn.o_proj.weight', True),
  'mlp_norm': ('post_attention_layernorm.weight', False),
}
QK_NORM = {
  'attention.q_norm': ('self_attn.q_norm.weight', False),
  'attention.k_norm': ('self_attn.k_norm.weight', False),
}
QKV_BIAS = {
  'attention.q.b': ('self_attn.q_proj.bias', False),
  'attention.k.b': ('self_attn.k_proj.bias', False),
  'attention.v.b': ('self_attn.v_proj.bias', False),
}
O_BIAS = {'attention.o.b': ('self_attn.o_proj.bias', False)}
DENSE = {
  'mlp.gate.w': ('mlp.gate_proj.weight', True),
  'mlp.up.w': ('mlp.up_proj.weight', True),
  'mlp.down.w': ('mlp.down_proj.weight', True),
}
ROUTER = {'moe.router.w': ('mlp.gate.weight', True)}
EXPERT = {
  'moe.gate.w': ('gate_proj.weight', True),
  'moe.up.w': ('up_proj.weight', True),
  'moe.down.w': ('down_proj.weight', True),
}
WHOLE = {
  'embedding': ('model.embed_tokens.weight', False),
  'norm': ('model.norm.weight', False),
  'head': ('lm_head.weight', True),
}
ALIASES = {'model.language_model.': 'model.', 'model.visual.': 'visual.'}


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a tensor belongs.

  Attributes:
    leaf: dotted path in the model, such as `spans.0.0.mlp.up.w`.
    index: on the stacked axes; empty for leaves that are not stacked.
    transposed: whether the file holds the transpose.
    shape: the file's, where it has more axes than the leaf; flattened behind its first axis it is a matrix.
  """

  leaf: str
  index: tuple[int, ...] = ()
  transposed: bool = False
  shape: tuple[int, ...] = ()


def places(config: DecoderConfig) -> dict[str, Place]:
  """Every tensor name that a file for `config` holds."""
  return dict(_whole(config)) | dict(_layers(config)) | dict(_vision(config))


def canonical(name: str) -> str:
  """The name that `places` uses for a tensor that newer files call otherwise."""
  for newer, older in ALIASES.items():
    if name.startswith(newer):
      return older + name.removeprefix(newer)
  return name


def _whole(config: DecoderConfig) -> Iterator[tuple[str, Place]]:
  for leaf, (name, transposed) in WHOLE.items():
    if leaf != 'head' or not config.tied:
      yield name, Place(leaf, (), transposed)


def _layers(config: DecoderConfig) -> Iterator[tuple[str, Place]]:
  for number, span in enumerate(layer_spans(config)):
    for place, sparse in enumerate(span.pattern):
      for repeat in range(span.repeats):
        front = f'model.layers.{span.layer(repeat, place)}'
        for leaf, (name, transposed) in _block(config, bool(sparse)).items():
          yield f'{front}.{name}', Place(f'spans.{number}.{place}.{leaf}', (repeat,), transposed)
        for expert in range(config.experts.count if config.experts and sparse else 0):
          for leaf, (name, transposed) in EXPERT.items():
            where = Place(f'spans.{number}.{place}.{leaf}', (repeat, expert), transposed)
            yield f'{front}.mlp.experts.{expert}.{name}', where


def _vision(config: DecoderConfig) -> Iterator[tuple[str, Place]]:
  tower = config.vision
  if tower is None:
    return
  kernel = (tower.width, tower.channels, tower.frames, tower.patch, tower.patch)
  for leaf, (name, transposed) in TOP.items():
    yield f'visual.{name}', Place(f'tower.{leaf}', (), transposed, kernel if leaf == PATCH else ())
  for layer in range(tower.layers):
    for leaf, (name, transposed) in LAYER.items():
      yield f'visual.blocks.{layer}.{name}', Place(f'tower.blocks.{leaf}', (layer,), transposed)


def _block(config: DecoderConfig, sparse: bool) -> dict[str, tuple[str, bool]]:
  return (
    ATTENTION
    | (QK_NORM if config.qk_norm else {})
    | (QKV_BIAS if config.qkv_bias else {})
    | (O_BIAS if config.o_bias else {})
    | (ROUTER if sparse else DENSE)
  )
