"""Qwen3-30B-A3B-Instruct-2507, a mixture of experts, GSPO, 64 TPU v5p chips (v5p:4x4x4), on text requests.

    python -m llmi_jax.main --config=configs/gspo_30b_a3b.py --config.policy.path=DIR
    python -m llmi_jax.main --config=configs/gspo_30b_a3b.py:runlocal

docs/plan.md says what it takes there.
"""

from configs import recipes


def get_config(arg=None):
  config = recipes.paper('Qwen3-30B-A3B')
  config.data.prompts = 16
  config.loss.ratio = 'sequence'
  config.loss.aggregation = 'seq_mean_token_mean'
  config.loss.clip_low = 3e-4
  config.loss.clip_high = 4e-4
  config.loss.clip_dual = 0.0
  config.optimizer.warmup = 6
  config.mesh.tensor = 4
  config.mesh.sequence = True
  config.policy.logits = 1 << 34
  return recipes.local(config, 'experts') if arg == 'runlocal' else config
