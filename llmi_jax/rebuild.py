"""Makes the policy that comes with the package: its tokenizer, then a supervised warm start from nothing.

    python -m llmi_jax.rebuild --out=llmi_jax/assets/tiny

The demonstrations are right only in part (wrong tools, wrong counts, broken tags, announcements), so that
reinforcement has something to mend; they copy their content words from the request exactly and hold no word
of the validation and test splits. About half an hour on two idle cores.
"""

import itertools
import pathlib
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import app, flags

from llmi_jax import programs, warm_start
from llmi_jax.data import demonstrations
from llmi_jax.data.builtin import generate
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.text import bpe, prompts, tokens
from llmi_jax.tools import code, edit, search
from llmi_jax.update import Optimizer
from llmi_jax.weights import save

SPECS = (search.SPEC, code.SPEC, edit.SPEC)
VOCAB, LIMIT, STEPS = 1024, 256, 2400
SHAPE = DecoderConfig(
  'Qwen3ForCausalLM', VOCAB, width=160, ff=448, layers=4, heads=4, kv_heads=2, head_dim=40, max_length=1024
)


def make(folder: pathlib.Path, steps: int = STEPS, seed: int = 0) -> None:
  """Writes tokenizer and warm-started weights; a snapshot every 200 steps.

  Args:
    folder: made if missing.
    steps: supervised ones.
    seed: of everything random.
  """
  template = prompts.load_template('compact')
  tokenizer = make_tokenizer(folder, template, seed)
  extra = {'tokenizer_digest': tokenizer.digest, 'eos_token_id': tokenizer.specials['<|im_end|>']}
  began = time.monotonic()

  def tell(step: int, loss: float, params: Any) -> None:
    if step % 50 == 0 or step == steps:
      line = f'warm start {step}/{steps}  loss {loss:.4f}  {time.monotonic() - began:.0f}s'
      print(line, file=sys.stderr, flush=True)
    if step % 200 == 0 or step == steps:
      save.save(params, SHAPE, folder, extra)

  warm_start.train(
    jax.jit(lambda key: Decoder(SHAPE, key))(jax.random.key(seed)),
    programs.learner(SHAPE, unroll=True),
    Optimizer(2e-3, min(100, steps), steps, final=0.02, weight_decay=0.05),
    examples(tokenizer, template, seed),
    warm_start.Batching(shared_length(tokenizer, template, seed), (112, 160, LIMIT), 4096),
    tell,
  )


def make_tokenizer(folder: pathlib.Path, template: prompts.Template, seed: int) -> tokens.Tokenizer:
  """Byte-level BPE over requests and demonstrations."""
  rng = random.Random(seed)
  texts = [template.render(SPECS)]
  for task in itertools.islice(generate.stream(seed + 1), 20_000):
    texts.append(''.join(getattr(part, 'text', '') for m in task.messages for part in m.content))
    texts.append(demonstrations.demonstrate(task, rng, flaws=demonstrations.Flaws()))
  bpe.train(texts, folder, vocab_size=VOCAB, skeletons=demonstrations.SKELETONS)
  return tokens.load(folder)


def examples(
  tokenizer: tokens.Tokenizer, template: prompts.Template, seed: int
) -> Iterator[warm_start.Example]:
  """Endless demonstrations as tokens."""
  rng = random.Random(seed + 2)
  stop = tokenizer.specials['<|im_end|>']
  for task in generate.stream(seed + 3):
    prompt = prompts.render(task, tokenizer, SPECS, template, limit=LIMIT)
    text = demonstrations.demonstrate(task, rng, flaws=demonstrations.Flaws())
    yield warm_start.Example(prompt.tokens, np.append(tokenizer.encode(text), stop).astype(np.int32))


def shared_length(tokenizer: tokens.Tokenizer, template: prompts.Template, seed: int) -> int:
  """How many tokens all prompts begin with: the system text and what leads to the request."""
  some = [example.prompt for example in itertools.islice(examples(tokenizer, template, seed), 100)]
  heads = np.stack([prompt[: min(map(len, some))] for prompt in some])
  return int((heads == heads[0]).all(0).argmin())


def main(_: list[str]) -> None:
  """Makes the policy."""
  make(pathlib.Path(flags.FLAGS.out), flags.FLAGS.steps, flags.FLAGS.seed)


if __name__ == '__main__':
  flags.DEFINE_string('out', None, 'Folder to write.', required=True)
  flags.DEFINE_integer('steps', STEPS, 'Supervised steps.')
  flags.DEFINE_integer('seed', 0, 'Of everything random.')
  app.run(main)
