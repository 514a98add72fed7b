"""Generation against peers on one machine, in turns: useful tokens per second of a ragged, grouped workload.

    python benchmarks/rollout.py [--rounds=3] [--rows=64] [--tunix=PYTHON]

32 prompts × 8 samples whose lengths are drawn once (geometric, mean 96, at most 512), the same weights and
the same lengths for all. transformers runs batches of as many rows, each until its longest response ends,
with a growing and with a static cache; so does Tunix, which needs an environment of its own
(`pip install google-tunix==0.1.7`), whose Python --tunix names. Also printed: the share of row-steps in which
a row was busy, over all and while samples waited, and how the cost of ours grows with rows, context and group
size.
"""

import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import jax
import numpy as np
from absl import app, flags, logging

from llmi_jax.models import decoder
from llmi_jax.programs import generation
from llmi_jax.sampling.engine import Engine, EngineConfig
from llmi_jax.sampling.keys import row_keys
from llmi_jax.sampling.request import Request
from llmi_jax.weights.load import load_pretrained

ROUNDS = flags.DEFINE_integer('rounds', 3, 'Turns of each side.')
TUNIX = flags.DEFINE_string('tunix', None, 'The Python of an environment with google-tunix.')
GROWTH = flags.DEFINE_bool('growth', True, 'Also print how the cost grows.')
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


def ours(model, config, texts, lengths, rows: int) -> tuple[float, float, float]:
  """Seconds, occupancy, and occupancy while samples waited."""
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
  rows_before = engine.counts.row_steps
  while engine.busy:
    made += sum(len(sample.tokens) for sample in engine.step(view))
  taken = time.perf_counter() - start
  assert made == lengths.sum()
  waited, ran = engine.counts.waited - before, engine.counts.row_steps - rows_before
  return taken, made / ran, 1 - waited / ran


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


class Tunix:
  """Tunix in a process of its own."""

  def __init__(self, python: str, folder: str, texts, lengths, rows: int):
    worker = pathlib.Path(__file__).with_name('tunix_worker.py')
    self._process = subprocess.Popen(
      (python, str(worker)),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    given = {
      'folder': folder,
      'prompts': [t.tolist() for t in texts],
      'lengths': lengths.tolist(),
      'rows': rows,
    }
    assert self._process.stdin is not None
    self._process.stdin.write(json.dumps(given) + '\n')
    self.round()  # compiles

  def round(self) -> float:
    """Seconds."""
    assert self._process.stdin is not None and self._process.stdout is not None
    self._process.stdin.write('\n')
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())['seconds']

  def close(self) -> None:
    self._process.kill()
    self._process.wait()


def main(_: list[str]) -> None:
  """Prints all tables."""
  model = original()
  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    policy, config = load_pretrained(folder)
    texts, lengths = workload()
    rows = ROWS.value
    tunix = Tunix(TUNIX.value, folder, texts, lengths, rows) if TUNIX.value else None
    try:
      against_peers(model, policy, config, texts, lengths, rows, tunix)
    finally:
      if tunix is not None:
        tunix.close()
  if GROWTH.value:
    growth(policy, config, rows)


def against_peers(model, policy, config, texts, lengths, rows: int, tunix: Tunix | None) -> None:
  """All sides in turns."""
  tokens = int(lengths.sum())
  ours(policy, config, texts, lengths, rows)  # compiles
  sides = {
    'transformers, growing cache': lambda: theirs(model, texts, lengths, rows, None),
    'transformers, static cache': lambda: theirs(model, texts, lengths, rows, 'static'),
  }
  if tunix is not None:
    sides['tunix'] = tunix.round
  taken: dict[str, list[float]] = {name: [] for name in ('llmi_jax', *sides)}
  whole = waiting = 0.0
  for _ in range(ROUNDS.value):
    seconds, whole, waiting = ours(policy, config, texts, lengths, rows)
    taken['llmi_jax'].append(seconds)
    for name, side in sides.items():
      taken[name].append(side())
      logging.info('%s: %.1f s, ours %.1f s', name, taken[name][-1], seconds)
  medians = {name: statistics.median(times) for name, times in taken.items()}
  print(f'{PROMPTS} × {SAMPLES} responses, {tokens} tokens, {rows} rows, float32')
  for name, seconds in medians.items():
    ratio = seconds / medians['llmi_jax']
    print(f'{name:<30} {seconds:7.1f} s  {tokens / seconds:7.0f} tokens/s  ours is {ratio:.2f}× as fast')
  print(f'rows busy: {whole:.3f} of all steps, {waiting:.3f} while samples waited')


def growth(policy, config, rows: int) -> None:
  """How the cost of ours grows."""
  for what, values in (('rows', (16, 64, 128)), ('context', (32, 256)), ('samples', (1, 8))):
    for value in values:
      options = {'context': value} if what == 'context' else {'samples': value} if what == 'samples' else {}
      texts, lengths = workload(PROMPTS // 2, **options)
      if what == 'samples' and value == 1:
        texts, lengths = texts * 8, np.repeat(lengths, 8, 0)
      count = value if what == 'rows' else rows
      ours(policy, config, texts, lengths, count)
      seconds, *_ = ours(policy, config, texts, lengths, count)
      print(f'{what} {value:<4} {lengths.sum() / seconds:7.0f} tokens/s', flush=True)


if __name__ == '__main__':
  app.run(main)
