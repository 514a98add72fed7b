"""What the four recipes share: the paper's hyper-parameters, and `runlocal`, which puts a small policy of the
same form in place of the large one and runs here.

    python -m llmi_jax.main --config=configs/grpo_4b.py:runlocal

Before a real run: point policy.path at the weights, data.* at the parquet files, and the judges and tools at
their servers, in a copy of the recipe or on the command line.
"""

from typing import Any

from configs import grpo_tiny, judges, tools


def paper(path: str) -> Any:
  """What all have in common (arXiv 2509.13642 and its released scripts).

  Ours are micro-batches and the mesh; and evaluations sample, where the paper's are greedy.
  """
  config: Any = grpo_tiny.get_config()
  config.epochs = 1
  config.steps = 0
  config.policy.path = path
  config.policy.unroll = False
  config.policy.compute = 'bfloat16'
  config.policy.remat = 'full'
  config.policy.logits = 1 << 31  # by all chips together: a gibibyte in each of eight
  config.data.train = 'data/train.parquet'
  config.data.eval = 'data/test.parquet'
  config.data.prompts = 32
  config.data.samples = 8
  config.prompt.template = 'default'
  config.prompt.tokens = 8192
  config.sampler.tokens = 24_576
  config.sampler.chunk = 32
  config.sampler.compute = config.sampler.cache = 'bfloat16'
  config.optimizer.learning_rate = 1e-6
  config.optimizer.warmup = 5
  config.optimizer.prompts = 0
  config.optimizer.tokens = 1 << 18
  config.optimizer.widths = (1024, 2048, 4096, 8192, 16_384, 24_576)
  config.reward.preset = 'paper'
  config.reward.judges = 'remote'
  config.reward.remote = judges.remote(llm=('http://127.0.0.1:8000/v1',), mllm=('http://127.0.0.1:8001/v1',))
  config.tools.names = ('search', 'diffusion', 'code', 'edit')
  config.tools.search = tools.keyed_search('serpapi', 'SERPAPI_KEY')
  config.tools.diffusion = tools.qwen_image('http://127.0.0.1:8002')
  config.tools.edit = tools.qwen_image('http://127.0.0.1:8003')
  config.tools.code.workers = 16
  config.eval.every = 10
  config.eval.samples = 1
  config.checkpoint.every = 10
  config.mesh.fsdp = 0
  return config


def local(config: Any, form: str) -> Any:
  """The same recipe with the small policy of a form, built-in tasks, tools and judges, and few tokens."""
  tiny: Any = grpo_tiny.get_config()
  sees = form == 'seeing'
  config.epochs = 0
  config.steps = 4
  config.policy.path = 'builtin:tiny'
  config.policy.form = form
  config.policy.logits = 1 << 20  # in several pieces, as a large vocabulary's are
  for name in ('train', 'eval'):
    config.data[name] = tiny.data[name]
  config.data.prompts, config.data.samples = 4, 4
  config.prompt.template = tiny.prompt.template
  config.prompt.tokens = 384 if sees else tiny.prompt.tokens
  config.prompt.pixels = 96 * 96 if sees else 0
  config.sampler.tokens = tiny.sampler.tokens
  config.sampler.chunk = tiny.sampler.chunk
  config.sampler.rows = 8 if config.sampler.rows else 0
  config.optimizer.widths = (96, 160)
  config.optimizer.tokens = 2048
  config.optimizer.warmup = 1
  config.reward.judges = 'offline'
  config.tools = tiny.tools
  config.eval.tasks = 8
  config.eval.every = 2
  config.checkpoint.every = 2
  config.mesh.tensor = config.mesh.expert = 1
  config.mesh.sequence = False
  return config
