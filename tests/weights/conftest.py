"""A random Qwen3 with experts, made and saved by transformers, and ways to break folders."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmi_jax.models.sharding import Layout, make_mesh
from llmi_jax.weights import format as files
from llmi_jax.weights.load import load_pretrained
from tests.models import originals


@pytest.fixture(scope='session')
def moe_hf(tmp_path_factory):
  """(folder, torch model): 3 layers, of which the first is dense and the others have 4 experts."""
  return _moe(tmp_path_factory.mktemp('moe_hf'), [0])


@pytest.fixture(scope='session')
def sparse_hf(tmp_path_factory):
  """The same with experts in all layers."""
  return _moe(tmp_path_factory.mktemp('sparse_hf'), [])


@pytest.fixture(scope='session')
def seeing_hf(tmp_path_factory):
  """The same of a random Qwen2.5-VL."""
  folder, model = tmp_path_factory.mktemp('seeing_hf'), originals.seeing()
  model.save_pretrained(folder)
  return folder, model


def _moe(folder, dense):
  torch = pytest.importorskip('torch')
  from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

  torch.manual_seed(0)
  config = Qwen3MoeConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
    tie_word_embeddings=False,
    bos_token_id=None,
    eos_token_id=1,
    pad_token_id=0,
    rope_parameters={'rope_type': 'default', 'rope_theta': 1e6},
    moe_intermediate_size=24,
    num_experts=4,
    num_experts_per_tok=2,
    norm_topk_prob=True,
    mlp_only_layers=dense,
  )
  model = Qwen3MoeForCausalLM(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.05)
  model.save_pretrained(folder)
  return folder, model


@pytest.fixture(scope='session')
def sharded(moe_hf):
  """(model on 8 devices, its layout, the share of each tensor's bytes that was read for it)."""
  layout = Layout(make_mesh({'fsdp': 2, 'tensor': 2, 'expert': 2}, jax.devices()))
  with pytest.MonkeyPatch.context() as patch:
    shares = count_reads(patch)
    model, _ = load_pretrained(moe_hf[0], layout)
  return model, layout, shares


def count_reads(patch):
  """From now on, the share of a tensor that each read is for."""
  shares, read = [], files.read

  def count(stored, boxes):
    shares.append(sum(box.shape[0] * box.shape[1] for box in boxes) / np.prod(stored.shape))
    return read(stored, boxes)

  patch.setattr('llmi_jax.weights.stream.read', count)
  return shares


def rewrite(folder, change, name='model.safetensors'):
  """Changes the tensors of a file."""
  tensors = load_file(folder / name)
  change(tensors)
  save_file(tensors, folder / name)


def divide(folder, parts=2):
  """Cuts a folder's file into several with an index; returns the index as a dict and its path."""
  path = folder / 'model.safetensors'
  tensors = load_file(path)
  names, weight_map = sorted(tensors), {}
  for part in range(parts):
    file = f'model-{part + 1:05}-of-{parts:05}.safetensors'
    own = {name: tensors[name] for name in names[part::parts]}
    save_file(own, folder / file)
    weight_map |= dict.fromkeys(own, file)
  path.unlink()
  index = folder / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': weight_map}))
  return weight_map, index
