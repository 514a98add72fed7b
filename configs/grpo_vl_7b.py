"""Qwen2.5-VL-7B-Instruct, GRPO, one host of 4 TPU v7x chips (tpu7x:2x2x1); requests may hold pictures.

    python -m llmi_jax.main --config=configs/grpo_vl_7b.py --config.policy.path=DIR
    python -m llmi_jax.main --config=configs/grpo_vl_7b.py:runlocal

Pictures are learned from in one process, hence one host. docs/plan.md says what it takes there.
"""

from configs import recipes


def paper(path):
  """The recipe without its policy's size."""
  config = recipes.paper(path)
  config.data.train = 'data/train_all.parquet'  # train and train_mm in one file
  config.data.eval = 'data/test_all.parquet'
  config.prompt.tokens = 16_384
  config.prompt.pixels = 1_048_576
  config.sampler.tokens = 16_384
  config.optimizer.widths = (1024, 2048, 4096, 8192, 16_384)
  config.optimizer.warmup = 4
  # The paper's preset but for the judge's two numbers, 1.5 : 0.5 here.
  config.reward.preset = 'free'
  config.reward.text = 1.5
  config.reward.tag = 0.5
  return config


def get_config(arg=None):
  config = paper('Qwen2.5-VL-7B')
  config.mesh.tensor = 4
  config.mesh.sequence = True
  config.sampler.rows = 128
  config.optimizer.tokens = 294_912  # two prompts with their longest responses at once
  return recipes.local(config, 'seeing') if arg == 'runlocal' else config
