"""Policies against their originals, on one machine in one run.

    python benchmarks/models.py [--rounds=5]

Prints three tables. Forward and gradient of the same weights and tokens here and in transformers on torch,
taken in turns, as ratios of medians. Compile time of a gradient at 36 layers over 4. The time of one decoding
step over the time that reading the bytes it must read (weights and live keys and values) takes.
"""

import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from llmi_jax.models import decoder
from llmi_jax.models.cache import Cache, Prefix, empty_suffix
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.weights.load import load_pretrained

ROUNDS = flags.DEFINE_integer('rounds', 5, 'Turns of each side.')
ROWS, LENGTH = 4, 128
TEXT = {
  'vocab_size': 8192,
  'hidden_size': 512,
  'intermediate_size': 1536,
  'num_hidden_layers': 8,
  'num_attention_heads': 8,
  'num_key_value_heads': 4,
  'head_dim': 64,
  'tie_word_embeddings': True,
  'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e6},
}
EXPERTS = {'num_experts': 16, 'num_experts_per_tok': 2, 'moe_intermediate_size': 512, 'norm_topk_prob': True}


def originals():
  """Names, transformers' models."""
  import torch
  from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

  torch.manual_seed(0)
  yield 'dense', Qwen3ForCausalLM(Qwen3Config(**TEXT)).eval()
  yield 'mixture', Qwen3MoeForCausalLM(Qwen3MoeConfig(**TEXT | EXPERTS)).eval()


def in_turns(*works: Callable[[], object]) -> list[float]:
  """Median seconds of each, measured in turns after one warm-up."""
  for work in works:
    work()
  taken = [[] for _ in works]
  for _ in range(ROUNDS.value):
    for times, work in zip(taken, works):
      start = time.perf_counter()
      work()
      times.append(time.perf_counter() - start)
  return [statistics.median(times) for times in taken]


def against_transformers() -> None:
  """Forward and gradient of a sum of logits' squares."""
  import torch

  print(f'{ROWS} × {LENGTH} tokens, float32   ours s   theirs s   theirs / ours')
  tokens = np.random.default_rng(0).integers(0, TEXT['vocab_size'], (ROWS, LENGTH)).astype(np.int32)
  positions = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), tokens.shape)
  lengths = jnp.full(ROWS, LENGTH, jnp.int32)
  for name, original in originals():
    with tempfile.TemporaryDirectory() as folder:
      original.save_pretrained(folder)
      model, config = load_pretrained(folder)

    def loss(model, config=config):
      hidden, _, _ = decoder.forward(model, tokens, positions, lengths, config=config, unroll=True)
      return jnp.mean(decoder.unembed(model, hidden) ** 2)

    forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
    ids = torch.tensor(tokens).long()

    def their_forward(original=original, ids=ids):
      with torch.no_grad():
        return (original(ids).logits ** 2).mean()

    def their_gradient(original=original, ids=ids):
      original.zero_grad()
      (original(ids).logits ** 2).mean().backward()

    pairs = {
      'forward': (lambda f=forward, m=model: jax.block_until_ready(f(m)), their_forward),
      'gradient': (lambda f=gradient, m=model: jax.block_until_ready(f(m)), their_gradient),
    }
    for what, pair in pairs.items():
      ours, theirs = in_turns(*pair)
      print(f'{name + " " + what:<28}  {ours:6.3f}   {theirs:8.3f}   {theirs / ours:13.2f}')


def shape(layers: int) -> DecoderConfig:
  """A dense decoder of any depth."""
  return DecoderConfig('Qwen3ForCausalLM', 8192, 512, 1536, layers, 8, 4, 64)


def compile_seconds(layers: int) -> float:
  """Of a gradient with remat, nothing cached."""
  config = shape(layers)
  model = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))

  def loss(model, tokens):
    positions = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), tokens.shape)
    lengths = jnp.full(tokens.shape[0], LENGTH, jnp.int32)
    hidden, _, _ = decoder.forward(model, tokens, positions, lengths, config=config, remat='full')
    return jnp.mean(decoder.unembed(model, hidden) ** 2)

  tokens = jax.ShapeDtypeStruct((ROWS, LENGTH), jnp.int32)
  lowered = jax.jit(jax.grad(loss)).lower(model, tokens)
  start = time.perf_counter()
  lowered.compile()
  return time.perf_counter() - start


def compile_growth() -> None:
  """36 layers over 4."""
  compile_seconds(4)  # whatever XLA sets up once
  few = statistics.median(compile_seconds(4) for _ in range(3))
  many = statistics.median(compile_seconds(36) for _ in range(3))
  print(f'\ncompile of a gradient: 4 layers {few:.2f} s, 36 layers {many:.2f} s, ratio {many / few:.2f}')


def decode_over_copy() -> None:
  """A decoding step of 16 rows behind shared prompts of 512 tokens, over the copy of what it reads."""
  config, groups, rows, prompt, slots = shape(8), 4, 16, 512, 512
  model = jax.jit(lambda key: Decoder(config, key))(jax.random.key(0))
  view = jax.jit(decoder.decode_view)(model)
  kv = jax.tree.map(
    lambda leaf: jnp.zeros((groups, *leaf.shape[1:3], leaf.shape[3])),
    empty_suffix(config.layers, groups, config.kv_heads, prompt, config.head_dim, jnp.float32).kv,
  )
  prefix = Prefix(kv, jnp.full(groups, prompt, jnp.int32))
  suffix = empty_suffix(config.layers, rows, config.kv_heads, slots, config.head_dim, jnp.float32)
  suffix = suffix._replace(clock=jnp.array(slots - 1), age=jnp.full(rows, slots - 1, jnp.int32))
  token, position = jnp.zeros((rows, 1), jnp.int32), jnp.full((rows, 1), prompt + slots, jnp.int32)
  ones = jnp.ones(rows, jnp.int32)

  @jax.jit
  def step(view, suffix, prefix):
    cache = Cache(prefix, suffix)
    hidden, suffix, _ = decoder.forward(view, token, position, ones, cache, config=config)
    return jnp.argmax(decoder.unembed(view, hidden[:, 0]), -1), suffix

  donated = jax.jit(step, donate_argnums=1)
  state = [suffix]

  def run():
    out, state[0] = donated(view, state[0], prefix)
    jax.block_until_ready(out)

  must = sum(leaf.nbytes for leaf in jax.tree.leaves((view, prefix, suffix)))
  source = np.ones(must // 8)
  target = np.empty_like(source)
  taken, copied = in_turns(run, lambda: np.copyto(target, source))
  read = copied / 2  # a copy reads and writes
  print(
    f'decode step: {taken * 1e3:.1f} ms over {read * 1e3:.1f} ms for {must / 1e6:.0f} MB: {taken / read:.1f}×'
  )


def main(_: list[str]) -> None:
  """All three."""
  against_transformers()
  compile_growth()
  decode_over_copy()


if __name__ == '__main__':
  app.run(main)
