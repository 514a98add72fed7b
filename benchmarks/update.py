"""The update: the gradient over its forward, the log-prob head, micro-batches, tokens per second.

    python -m benchmarks.update [--rounds=5] [--head_tokens=8192] [--parts=policy,head,micro]

`policy`: the built-in tiny policy over 32 × 256 tokens: forward, gradient, their ratio, tokens per second and
the share of the measured peak of float32 products (6 FLOPs per parameter and token, and attention's). `head`:
peak memory and time of the chunked head over materialised logits, V = 151,936. `micro`: a step of the tiny
run's shape whole, cut, and with prompts run for every row. All in turns in one process; medians.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from llmi_jax import wiring
from llmi_jax.programs import learning
from llmi_jax.rl.logprobs import Head, token_logprobs
from llmi_jax.rollout import pieces
from llmi_jax.rollout.pieces import MicroBatches
from llmi_jax.update import step
from llmi_jax.update.loss import Goal, micro_loss
from llmi_jax.update.rows import Rows
from llmi_jax.weights import load

ROUNDS = flags.DEFINE_integer('rounds', 5, 'Turns of each side.')
HEAD_TOKENS = flags.DEFINE_integer(
  'head_tokens', 8192, 'Tokens of the head; materialised they take 1.2 MB each.'
)
PARTS = flags.DEFINE_list('parts', ['policy', 'head', 'micro'], 'What is measured.')
VOCAB, WIDTH = 151_936, 256


def in_turns(*works: Callable[[], object]) -> list[float]:
  """Median seconds of each, measured in turns after one warm-up."""
  for work in works:
    jax.block_until_ready(work())
  taken = [[] for _ in works]
  for _ in range(ROUNDS.value):
    for times, work in zip(taken, works):
      start = time.perf_counter()
      jax.block_until_ready(work())
      times.append(time.perf_counter() - start)
  return [statistics.median(times) for times in taken]


def tiny():
  """Parameters and shape of the built-in policy."""
  return load.load_pretrained(wiring.policy_folder('builtin:tiny'))


def rows(config, groups: int, samples: int, prompt: int, response: int) -> Rows:
  """Random tokens; responses of all lengths up to the longest."""
  rng = np.random.default_rng(0)
  count = groups * samples
  length = rng.integers(response // 4, response + 1, count).astype(np.int32)
  mask = (np.arange(response) < length[:, None]).astype(np.float32)
  draw = lambda *shape: rng.integers(0, config.vocab, shape).astype(np.int32)
  advantage = rng.normal(size=count).astype(np.float32)
  lengths = np.full(groups, prompt, np.int32)
  return Rows(draw(groups, prompt), lengths, draw(count, response), length, mask, 0 * mask - 3.0, advantage)


def peak_flops() -> float:
  """Of a product of two float32 matrices."""
  matrix = jnp.ones((1024, 1024))
  product = jax.jit(jnp.matmul)
  (seconds,) = in_turns(partial(product, matrix, matrix))
  return 2 * 1024**3 / seconds


def policy() -> None:
  """The tiny policy's gradient over its forward, rows of 256 tokens without a prompt to speak of."""
  model, config = tiny()
  batch = rows(config, 32, 1, 1, 255)
  weights = batch.mask / batch.mask.sum()
  functions, goal = learning.learner(config, unroll=True), Goal()
  loss = lambda m: micro_loss(functions, goal, m, None, None, batch, weights, None)[0]
  forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
  ahead, back = in_turns(partial(forward, model), partial(gradient, model))
  tokens = 32 * 256
  parameters = sum(leaf.size for leaf in jax.tree.leaves(model))
  flops = 6 * parameters * tokens + 6 * config.layers * config.heads * config.head_dim * 256 * tokens
  print(f'tiny policy, 32 × 256 tokens, float32, {parameters / 1e6:.2f}M parameters')
  print(f'  forward {ahead:.3f} s, gradient {back:.3f} s: {back / ahead:.2f} ×')
  print(f'  {tokens / back:,.0f} tokens/s, {flops / back / peak_flops():.0%} of the measured float32 peak')


def head() -> None:
  """Peak temporary memory and time of the head's value and gradient."""
  rng, tokens = np.random.default_rng(0), HEAD_TOKENS.value
  shapes = ((1, tokens, WIDTH), (WIDTH, VOCAB))
  hidden, table = (jnp.asarray(rng.normal(size=s) * 0.1, jnp.float32) for s in shapes)
  ids = jnp.asarray(rng.integers(0, VOCAB, (1, tokens)), jnp.int32)

  def chunked(hidden, table):
    return jnp.sum(token_logprobs(hidden, ids, table, Head(chunk=256))[0])

  def materialised(hidden, table):
    logits = hidden @ table
    picked = jnp.take_along_axis(logits, ids[..., None], -1)[..., 0]
    return jnp.sum(picked - jax.nn.logsumexp(logits, -1))

  programs = [
    jax.jit(jax.value_and_grad(f, argnums=(0, 1))).lower(hidden, table).compile()
    for f in (chunked, materialised)
  ]
  memory = [program.memory_analysis().temp_size_in_bytes for program in programs]
  seconds = in_turns(*(partial(program, hidden, table) for program in programs))
  print(f'log-prob head, {tokens} × {VOCAB}, width {WIDTH}, float32: chunked, materialised, share')
  print(f'  memory {memory[0] / 1e6:,.0f} MB, {memory[1] / 1e6:,.0f} MB, {memory[0] / memory[1]:.1%}')
  print(f'  time {seconds[0]:.2f} s, {seconds[1]:.2f} s, {seconds[0] / seconds[1]:.2f} ×')


def micro() -> None:
  """One step's gradient at the shape of the tiny run, cut in several ways."""
  model, config = tiny()
  batch, goal = rows(config, 8, 8, 192, 160), Goal()
  print('8 × 8 samples, 192 + 160 tokens: seconds of a step, padding among its tokens')
  ways = {
    'whole': (MicroBatches(0, (160,)), True),
    '2 prompts, 3 widths': (MicroBatches(2, (64, 96, 160)), True),
    '4,000 tokens, 3 widths': (MicroBatches(0, (64, 96, 160), tokens=4000, prompt=192), True),
    'whole, prompts for every row': (MicroBatches(0, (160,)), False),
  }
  works, padding = [], []
  for settings, share in ways.values():
    functions = learning.learner(config, unroll=True, share=share)
    add = jax.jit(step.make_add(functions, goal), donate_argnums=1)
    micros = pieces.micro_batches(batch, settings, goal.surrogate)

    def work(add=add, micros=micros):
      sums = step.empty(model)
      for one in micros:
        sums = add(model, sums, one.rows, one.weights)
      return sums

    works.append(work)
    computed = sum(one.rows.tokens.size for one in micros)
    padding.append(1 - batch.mask.sum() / computed)
  for name, seconds, share in zip(ways, in_turns(*works), padding):
    print(f'  {name:<30} {seconds:.3f}   {share:.0%}')


def main(_: list[str]) -> None:
  """Prints the tables."""
  for part in PARTS.value:
    {'policy': policy, 'head': head, 'micro': micro}[part]()


if __name__ == '__main__':
  app.run(main)
