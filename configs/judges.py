"""What configs say of judging models.

`config.reward.judges = 'remote'` asks those with addresses; `'local'` too, and for the others a model in the
same process.
"""

from ml_collections import ConfigDict


def judge(template, urls=()):
  """One judge; without an address it is off.

  Args:
    template: a name in llmi_jax/judges/templates, or a file.
    urls: base URLs such as http://127.0.0.1:8000/v1; several share the load.
  """
  config = ConfigDict()
  config.urls = tuple(urls)  # base addresses; several share the load; none: this judge is off
  config.model = ''  # empty: the one that the addresses name
  config.key_env = ''  # environment variable that holds the key, if any
  config.template = template  # a name in llmi_jax/judges/templates, or a file
  config.form = 'lines'  # of a verdict: lines, or json for servers that follow a schema
  config.temperature = 0.5  # of its sampling
  config.tokens = 1024  # most of a reply
  config.seeded = True  # whether a seed is sent
  config.votes = 1  # per answer; the median counts
  config.inputs = 4  # pictures of the request that are shown
  config.pictures = 10  # of the answer
  config.characters = 24_000  # of the answer
  config.image_pixels = 784_000  # larger pictures are scaled down
  config.gates = ('empty', 'copied', 'repeated') if template == 'llm' else ()  # checks that spare a call
  config.canaries = 500  # calls between two canaries; 0 for none
  config.concurrency = 64  # calls at once
  config.per_minute = 0  # calls; 0 for no limit
  config.seconds = 120.0  # per call with its retries
  config.attempt_seconds = 60.0  # per try
  config.attempts = 4  # tries per call, the first included
  config.retry_wait = 0.5  # seconds; doubled from try to try
  config.retry_share = 0.1  # retries per call over time
  return config


def remote(llm=(), mllm=(), held_out=()):
  """The text judge, the picture judge, and one that never gives reward."""
  config = ConfigDict()
  config.llm = judge('llm', llm)
  config.mllm = judge('mllm', mllm)
  config.held_out = judge('llm', held_out)
  return config


def local(path=''):
  """The model that judges in this process whatever has no address among the remote ones."""
  config = ConfigDict()
  config.path = (
    path  # a Hugging Face folder, a work folder, or builtin:tiny; one that sees judges pictures, too
  )
  config.rows = 8  # verdicts that are written together
  config.prompt_tokens = 4096  # longest prompt, pictures included
  config.pixels = 0  # larger pictures are scaled down to it; 0: the model's own limit
  return config
