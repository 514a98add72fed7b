"""`grpo_tiny` with all four tools: the built-in painter, and tasks for it.

    python -m llmi_jax.main --config=configs/grpo_tiny_painted.py

The policy that comes with the package was warm-started on three tools; this config first makes one for four
in the work folder, about half an hour on two idle cores. `python -m llmi_jax.rebuild --painted --out=DIR`
makes it once for all.
"""

from typing import Any

from configs import grpo_tiny, tools


def get_config(arg=None):
  config: Any = grpo_tiny.get_config(arg)
  config.policy.rebuild = 2400
  config.data.train = 'builtin+diffusion:train'
  config.data.eval = 'builtin+diffusion:test'
  config.prompt.tokens = 208
  config.tools.names = ('search', 'code', 'edit', 'diffusion')
  config.tools.diffusion = tools.painter()
  return config
