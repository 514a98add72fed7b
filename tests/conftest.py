"""Strict defaults for every test: eight CPU devices, no silent promotion of ranks or dtypes."""

import os
import pathlib
import tempfile

import jax
import pytest

# Eight devices on two busy cores may meet late; XLA would abort the process after 40 seconds.
_PATIENCE = '--xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600'
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_PATIENCE}'.strip()

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_compilation_cache_dir', str(pathlib.Path(tempfile.gettempdir()) / 'llmi_jax-test-xla'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


@pytest.fixture(scope='session')
def tiny_hf(tmp_path_factory):
  """A random Qwen3 made and saved by transformers: (folder, torch model)."""
  torch = pytest.importorskip('torch')
  from transformers import Qwen3Config, Qwen3ForCausalLM

  torch.manual_seed(0)
  config = Qwen3Config(
    vocab_size=160,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=1,
    pad_token_id=0,
    rope_parameters={'rope_type': 'default', 'rope_theta': 1e6},
  )
  model = Qwen3ForCausalLM(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.05)
  folder = tmp_path_factory.mktemp('tiny_hf')
  model.save_pretrained(folder)
  return folder, model
