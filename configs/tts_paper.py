"""Test-time scaling as LLM-I describes it: sample, select, better every picture, polish the text, choose.

    python -m llmi_jax.generate --policy=RUN --prompt=… --tts=configs/tts_paper.py:http://127.0.0.1:8000/v1

The argument is the base URL of a chat model that sees; it selects, polishes and mends. The four stages and
"about 16 s" of polishing are the paper's; every number here is ours, since none is published.

Hardware: whatever the policy runs on; the chat model is served elsewhere.
"""

from typing import Any

from configs import tts_small


def get_config(arg=None):
  config: Any = tts_small.get_config()
  config.sample.n = 8
  config.select.k = 2
  config.select.by = 'pairs'
  config.select.opponents = 4
  config.enhance.m = 4
  config.enhance.r = 3
  config.enhance.repairer = 'remote'
  config.selector.judges = 'remote'
  config.polish.on = True
  config.polish.by = 'remote'
  config.polish.sees = True
  config.polish.tokens = 8192
  urls = (arg,) if arg else ()
  config.selector.remote.urls = config.polish.remote.urls = urls
  config.budget.seconds = 600.0
  return config
