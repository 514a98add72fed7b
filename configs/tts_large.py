"""Test-time scaling where cost is no matter: sixteen samples, four of them bettered and polished twice.

    python -m llmi_jax.generate --policy=RUN --prompt=… --tts=configs/tts_large.py:http://127.0.0.1:8000/v1

The argument as in tts_paper.py. Every number is ours.

Hardware: whatever the policy runs on; the chat model is served elsewhere.
"""

from typing import Any

from configs import tts_paper


def get_config(arg=None):
  config: Any = tts_paper.get_config(arg)
  config.sample.n = 16
  config.select.k = 4
  config.select.by = 'list'
  config.enhance.m = 8
  config.enhance.r = 4
  config.polish.rounds = 2
  config.budget.seconds = 1800.0
  return config
