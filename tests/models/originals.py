"""Tiny random models made by transformers, and their gradients under the names that files have."""

import re

import numpy as np

TEXT = {
  'vocab_size': 96,
  'hidden_size': 32,
  'intermediate_size': 48,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 16,
  'max_position_embeddings': 512,
  'tie_word_embeddings': True,
  'bos_token_id': None,
  'eos_token_id': 1,
  'pad_token_id': 0,
  'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6},
}
EXPERTS = {
  'moe_intermediate_size': 24,
  'num_experts': 6,
  'num_experts_per_tok': 2,
  'norm_topk_prob': True,
  'decoder_sparse_step': 1,
  'mlp_only_layers': [],
}


def dense(**changes):
  """A random Qwen3."""
  from transformers import Qwen3Config, Qwen3ForCausalLM

  return _random(Qwen3ForCausalLM, Qwen3Config(**TEXT | changes))


def mixture(**changes):
  """A random Qwen3-MoE."""
  from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

  return _random(Qwen3MoeForCausalLM, Qwen3MoeConfig(**TEXT | EXPERTS | changes))


def _random(cls, config):
  import torch

  torch.manual_seed(0)
  config._attn_implementation = 'eager'
  model = cls(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.05)
  return model


def gradients(model) -> dict[str, np.ndarray]:
  """The gradients of a torch model, experts one by one, tied weights once."""
  found = {}
  for name, parameter in model.named_parameters():
    if parameter.grad is None:
      continue
    grad = parameter.grad.float().numpy()
    fused = re.fullmatch(r'(.*\.experts)\.(gate_up_proj|down_proj)', name)
    if not fused:
      found[name] = grad
      continue
    for expert, one in enumerate(grad):
      if fused[2] == 'down_proj':
        found[f'{fused[1]}.{expert}.down_proj.weight'] = one
      else:
        gate, up = np.split(one, 2)
        found[f'{fused[1]}.{expert}.gate_proj.weight'] = gate
        found[f'{fused[1]}.{expert}.up_proj.weight'] = up
  return found


IMAGE, START, END = 90, 91, 92


def seeing(**changes):
  """A random Qwen2.5-VL; its patches are 2 pixels wide, a window holds 4 of them a side."""
  from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

  text = {name: value for name, value in TEXT.items() if name not in ('head_dim', 'tie_word_embeddings')}
  text |= {'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6, 'mrope_section': [1, 2, 1]}}
  vision = {
    'depth': 2,
    'hidden_size': 16,
    'intermediate_size': 20,
    'num_heads': 2,
    'out_hidden_size': 32,
    'patch_size': 2,
    'spatial_merge_size': 2,
    'temporal_patch_size': 2,
    'window_size': 8,
    'fullatt_block_indexes': [1],
  }
  config = Qwen2_5_VLConfig(
    text_config=text | changes,
    vision_config=vision,
    tie_word_embeddings=False,
    image_token_id=IMAGE,
    video_token_id=93,
    vision_start_token_id=START,
    vision_end_token_id=END,
  )
  return _random(Qwen2_5_VLForConditionalGeneration, config)


def files(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The same under the names that files of vision-language models have."""
  front = {'model.language_model.': 'model.', 'model.visual.': 'visual.'}
  found = {}
  for name, grad in gradients.items():
    for memory, file in front.items():
      if name.startswith(memory):
        name = file + name.removeprefix(memory)
        break
    found[name] = grad
  return found
