"""Qwen3-4B-Instruct-2507, GRPO, 64 TPU v5p chips (v5p:4x4x4): the paper's main recipe, on text requests.

    python -m llmi_jax.main --config=configs/grpo_4b.py --config.policy.path=DIR
    python -m llmi_jax.main --config=configs/grpo_4b.py:runlocal

docs/plan.md says what it takes there.
"""

from configs import recipes


def get_config(arg=None):
  config = recipes.paper('Qwen3-4B')
  config.mesh.tensor = 2
  config.policy.logits = 1 << 34
  return recipes.local(config, '') if arg == 'runlocal' else config
