"""Generation against peers on one machine, in turns: useful tokens per second of a ragged, grouped workload.

    python benchmarks/rollout.py [--rounds=3] [--rows=64]

32 prompts × 8 samples whose lengths are drawn once (geometric, mean 96, at most 512), the same weights and
the same lengths for all. transformers runs batches of as many rows, each until its longest response ends,
with a growing and with a static cache. Also printed: the share of row-steps in which a row that could be busy
was, and how the cost of ours grows with rows, context and group size.
"""

import statistics
import tempfile
import time

import jax
import numpy as np
from absl import app, flags

from llmi_jax.models import decoder
from llmi_jax.programs import generation
from llmi_jax.sampling.engine import Engine, EngineConfig
from llmi_jax.sampling.keys import row_keys
from llmi_jax.sampling.request import Request
from llmi_jax.weights.load import load_pretrained

ROUNDS = flags.DEFINE_integer('rounds', 3, 'Turns of each side.')
ROWS = flags.DEFINE_integer('rows', 64, 'Rows decoded together.')
PROMPTS, SAMPLES, MEAN, MOST = 32, 8, 96, 512
VOCAB = 8192


def original():
  """A random model of 29 million parameters."""
  import torch
  from transformers import Qwen3Config, Qwen3ForCausalLM

  torch.manual_seed(0)
  return Qwen3ForCausalLM(
    Qwen3Config(
      vocab_size=VOCAB,
      hidden_size=512,
      intermediate_size=1536,
      num_hidden_layers=8,
      num_attention_heads=8,
      num_key_value_heads=4,
      head_dim=64,
      tie_word_embeddings=True,
      rope_parameters={'rope_type': 'default', 'rope_theta': 1e6},
      eos_token_id=None,
      bos_token_id=None,
      pad_token_id=0,
    )
  ).eval()


def workload(prompts: int = PROMPTS, samples: int = SAMPLES, context: int = 96):
  """Prompts of ragged lengths, and the length of each response."""
  rng = np.random.default_rng(0)
  texts = [rng.integers(1, VOCAB, rng.integers(context // 2, context + 1)) for _ in range(prompts)]
  lengths = np.minimum(rng.geometric(1 / MEAN, (prompts, samples)), MOST)
  return [text.astype(np.int32) for text in texts], lengths


def ours(model, config, texts, lengths, rows: int) -> tuple[float, float]:
  """Seconds and occupancy."""
  samples = lengths.shape[1]
  sizes = EngineConfig(
    rows=rows,
    samples=min(samples, rows),
    prompt_slots=max(map(len, texts)),
    response_slots=MOST,
    vocab=config.vocab,
    width=config.width,
    stops=(),
  )
  key = (id(model), sizes)
  if key not in ENGINES:
    ENGINES[key] = Engine(generation.sampler(config, sizes), sizes), jax.jit(decoder.decode_view)(model)
  engine, view = ENGINES[key]
  start = time.perf_counter()
  groups, numbers = np.divmod(np.arange(lengths.size), samples)
  keys = row_keys(0, 'eval', 0, groups, numbers)
  for i, text in enumerate(texts):
    own = keys[i * samples : (i + 1) * samples]
    engine.submit(Request(i, text, own, [int(n) for n in lengths[i]]))
  before, made = engine.counts.waited, 0
  steps = engine.counts.steps
  while engine.busy:
    made += sum(len(sample.tokens) for sample in engine.step(view))
  taken = time.perf_counter() - start
  assert made == lengths.sum()
  waited, ran = engine.counts.waited - before, engine.counts.steps - steps
  return taken, 1 - waited / (ran * rows)


ENGINES: dict = {}


def theirs(model, texts, lengths, rows: int, cache: str | None) -> float:
  """Seconds of transformers' generate over batches of `rows`."""
  import torch

  flat = [(text, length) for text, own in zip(texts, lengths) for length in own]
  start = time.perf_counter()
  for first in range(0, len(flat), rows):
    batch = flat[first : first + rows]
    width = max(len(text) for text, _ in batch)
    ids = np.zeros((len(batch), width), np.int64)
    mask = np.zeros_like(ids)
    for row, (text, _) in enumerate(batch):
      ids[row, width - len(text) :], mask[row, width - len(text) :] = text, 1
    with torch.no_grad():
      model.generate(
        torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        max_new_tokens=int(max(length for _, length in batch)),
        do_sample=True,
        top_k=0,
        cache_implementation=cache,
        disable_compile=True,
      )
  return time.perf_counter() - start


def main(_: list[str]) -> None:
  """Prints all tables."""
  model = original()
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    policy, config = load_pretrained(folder)
  texts, lengths = workload()
  tokens, rows = int(lengths.sum()), ROWS.value
  ours(policy, config, texts, lengths, rows)  # compiles
  names = ('llmi_jax', 'transformers, growing cache', 'transformers, static cache')
  taken: dict[str, list[float]] = {name: [] for name in names}
  occupancy = 0.0
  for _ in range(ROUNDS.value):
    seconds, occupancy = ours(policy, config, texts, lengths, rows)
    peers = (theirs(model, texts, lengths, rows, cache) for cache in (None, 'static'))
    for name, one in zip(names, (seconds, *peers)):
      taken[name].append(one)
  medians = {name: statistics.median(times) for name, times in taken.items()}
  print(f'{PROMPTS} × {SAMPLES} responses, {tokens} tokens, {rows} rows, float32')
  for name, seconds in medians.items():
    ratio = seconds / medians['llmi_jax']
    print(f'{name:<30} {seconds:7.1f} s  {tokens / seconds:7.0f} tokens/s  ours is {ratio:.2f}× as fast')
  print(f'occupancy while samples waited: {occupancy:.3f}')
  for what, values in (('rows', (16, 64, 128)), ('context', (32, 256)), ('samples', (1, 8))):
    for value in values:
      options = {'context': value} if what == 'context' else {'samples': value} if what == 'samples' else {}
      texts, lengths = workload(**options)
      if what == 'samples' and value == 1:
        texts, lengths = texts * 8, np.repeat(lengths, 8, 0)
      count = value if what == 'rows' else rows
      ours(policy, config, texts, lengths, count)
      seconds, _ = ours(policy, config, texts, lengths, count)
      print(f'{what} {value:<4} {lengths.sum() / seconds:7.0f} tokens/s')


if __name__ == '__main__':
  app.run(main)
