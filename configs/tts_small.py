"""Test-time scaling in small: four samples, the best one bettered; programs choose, nobody needs a server.

    python -m llmi_jax.generate --policy=runs/mine --prompt="Show a tabby cat." --tts=configs/tts_small.py

Every value is ours: LLM-I states neither its numbers nor its criteria.

Hardware: whatever the policy runs on.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import judges


def get_config(arg=None):
  del arg
  config: Any = ConfigDict()
  config.sample = ConfigDict()
  config.sample.n = 4  # answers, of one group
  config.sample.temperature = 1.0  # of sampling

  config.filter = ConfigDict()
  config.filter.on = True  # whether samples that break a level are put aside
  # All must hold; where nobody is left, the last one is dropped first. Others: all_ok, which leaves code that
  # raised nothing to be mended.
  config.filter.levels = ('image_rule', 'well_formed', 'success')
  config.filter.success = 0.5  # least share of calls that gave a picture
  config.filter.retries = 1  # of calls that the environment lost

  config.select = ConfigDict()
  config.select.on = True  # whether some samples are chosen to go on; else all do
  config.select.k = 1  # who go on
  config.select.by = 'scores'  # scores, pairs or list
  config.select.opponents = 0  # pairs: others that each is compared with; 0 for all

  config.selector = ConfigDict()
  config.selector.judges = 'offline'  # programs; or remote: the model below
  config.selector.remote = judges.judge('mllm')  # its template is not used
  config.selector.remote.temperature = 0.0  # of its sampling
  config.selector.remote.attempts = 50  # a provider may answer 429 most of the time
  config.selector.remote.retry_share = 50.0
  config.selector.preset = 'paper'  # of the reward that scores are
  config.selector.insist = False  # let the judge that reports be the one that selects

  config.enhance = ConfigDict()
  config.enhance.on = True  # whether pictures are bettered
  config.enhance.m = 2  # further pictures per place
  config.enhance.r = 2  # tries to mend code that raised
  config.enhance.ways = ConfigDict()  # by tool: seeds, candidates, repair or none
  config.enhance.ways.diffusion = 'seeds'  # how this tool's pictures are bettered
  config.enhance.ways.edit = 'seeds'  # likewise
  config.enhance.ways.search = 'candidates'  # likewise
  config.enhance.ways.code = 'repair'  # likewise
  config.enhance.repairer = 'policy'  # or remote: the model of polish.remote

  config.polish = ConfigDict()
  config.polish.on = False  # whether the text is polished
  config.polish.rounds = 1  # of polishing
  config.polish.by = 'policy'  # or remote
  config.polish.sees = False  # whether it is shown pictures; else it reads what they show
  config.polish.temperature = 0.3  # of sampling
  config.polish.tokens = 1024  # most of a reply
  config.polish.prompt_tokens = 2048  # longest prompt, where the policy polishes or mends
  config.polish.remote = judges.judge('llm')  # its template is not used
  config.polish.remote.attempts = 50  # tries per call; a provider may answer 429 most of the time
  config.polish.remote.retry_share = 50.0

  config.final = True  # whether the selector chooses among polished and unpolished

  config.budget = ConfigDict()  # of one answer; 0: no limit
  config.budget.seconds = 120.0  # of one answer, as wall time; 0: no limit
  config.budget.calls = 0  # of tools and models; 0: no limit
  config.budget.tokens = 0  # read and written; 0: no limit
  config.budget.price = 0.0  # in the unit of `prices`; 0: no limit
  config.budget.stages = (
    ConfigDict()
  )  # the same four by stage: sample, filter, select, enhance, polish, final
  # By role (policy, selector, polisher, repairer, tool:NAME): of a million tokens read, of a million written,
  # and of a call.
  config.prices = ConfigDict()
  return config
