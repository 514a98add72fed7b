"""Qwen2.5-VL-32B-Instruct, GRPO, one host of 4 TPU v7x chips (tpu7x:2x2x1); requests may hold pictures.

    python -m llmi_jax.main --config=configs/grpo_vl_32b.py --config.policy.path=DIR
    python -m llmi_jax.main --config=configs/grpo_vl_32b.py:runlocal

No script of the paper's is public for this size: it is `grpo_vl_7b` with a larger policy, by extrapolation.
docs/plan.md says what it takes there.
"""

from configs import grpo_vl_7b, recipes


def get_config(arg=None):
  config = grpo_vl_7b.paper('Qwen2.5-VL-32B')
  config.mesh.tensor = 8
  config.mesh.sequence = True
  config.optimizer.moments = 'bfloat16_first'
  config.optimizer.offload = True
  config.sampler.rows = 32
  return recipes.local(config, 'seeing') if arg == 'runlocal' else config
