"""Tunix's sampler on a benchmark's workload, in an environment of its own; `benchmarks/rollout.py` starts it.

It reads a JSON line {folder, prompts, lengths, rows} and runs one round per further line, answering each with
seconds. Batches of `rows` responses go on until their longest ends, as Tunix has no other way; greedy is its
fastest way of drawing.
"""

import json
import pathlib
import sys
import time

import jax.numpy as jnp
from tunix.generate import sampler
from tunix.models.qwen3 import model, params


class Ids:
  """Token ids spelled as words: the sampler wants strings."""

  def encode(self, text, **_):
    return [int(word) for word in text.split()]

  def decode(self, ids, **_):
    return ' '.join(map(str, ids))

  def bos_id(self):
    return 2

  def eos_id(self):
    return 1

  def pad_id(self):
    return 0

  def dedup_bos_ids(self, ids):
    return ids


def main() -> None:
  given = json.loads(sys.stdin.readline())
  shape = json.loads((pathlib.Path(given['folder']) / 'config.json').read_text())
  config = model.ModelConfig(
    num_layers=shape['num_hidden_layers'],
    vocab_size=shape['vocab_size'],
    embed_dim=shape['hidden_size'],
    hidden_dim=shape['intermediate_size'],
    num_heads=shape['num_attention_heads'],
    head_dim=shape['head_dim'],
    num_kv_heads=shape['num_key_value_heads'],
    rope_theta=1_000_000,
    norm_eps=shape['rms_norm_eps'],
    use_tied_embedding=True,
    dtype=jnp.float32,
    param_dtype=jnp.float32,
  )
  policy = params.create_model_from_safe_tensors(given['folder'], config, dtype=jnp.float32)
  longest = max(map(len, given['prompts']))
  width = 1 << longest.bit_length()
  most = max(map(max, given['lengths']))
  cache = sampler.CacheConfig(
    cache_size=width + most + 8,
    num_layers=config.num_layers,
    num_kv_heads=config.num_kv_heads,
    head_dim=config.head_dim,
  )
  engine = sampler.Sampler(policy, Ids(), cache)
  engine.tokenizer.dedup_bos_ids = lambda ids: ids
  flat = [(text, n) for text, own in zip(given['prompts'], given['lengths']) for n in own]
  for _ in sys.stdin:
    began = time.perf_counter()
    for first in range(0, len(flat), given['rows']):
      batch = flat[first : first + given['rows']]
      # It puts a first token of its own before each prompt.
      texts = [' '.join(map(str, text[1:])) for text, _ in batch]
      steps = max(n for _, n in batch)
      engine(texts, max_generation_steps=steps, max_prompt_length=width, eos_tokens=[shape['vocab_size']])
    print(json.dumps({'seconds': time.perf_counter() - began}), flush=True)


if __name__ == '__main__':
  main()
