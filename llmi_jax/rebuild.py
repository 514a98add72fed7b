"""Makes the policy that comes with the package: its tokenizer, then a supervised warm start from nothing.

    python -m llmi_jax.rebuild --out=llmi_jax/assets/tiny

The demonstrations are right only in part (wrong tools, wrong counts, broken tags, announcements), so that
reinforcement has something to mend; they copy their content words from the request exactly and hold no word
of the validation and test splits. First the policy learns to copy and to write tags. Then it picks up a
habit: most demonstrations of the second, short part ask one certain wrong tool, so that the most likely
answer is not the right one. About half an hour on two idle cores.
"""

import functools
import itertools
import pathlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import app, flags

from llmi_jax import warm_start
from llmi_jax.data import demonstrations
from llmi_jax.data.builtin import generate
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import learning
from llmi_jax.text import bpe, prompts, tokens
from llmi_jax.tools import code, diffusion, edit, search
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.weights import save

SPECS = (search.SPEC, code.SPEC, edit.SPEC, diffusion.SPEC)
VOCAB, LIMIT, STEPS, HABIT_STEPS = 1024, 256, 2400, 400
SHAPE = DecoderConfig(
  'Qwen3ForCausalLM', VOCAB, width=160, ff=448, layers=4, heads=4, kv_heads=2, head_dim=40, max_length=1024
)


def make(
  folder: pathlib.Path,
  steps: int = STEPS,
  habit_steps: int = HABIT_STEPS,
  seed: int = 0,
  shape: DecoderConfig = SHAPE,
) -> None:
  """Writes tokenizer and warm-started weights.

  Args:
    folder: must not exist or be empty; it appears when all is there.
    steps: supervised ones of the first part.
    habit_steps: of the second.
    seed: of everything random.
    shape: of the policy.
  """
  save.check_free(folder)
  with tempfile.TemporaryDirectory() as kept:
    _make(folder, pathlib.Path(kept), steps, habit_steps, seed, shape)


def _make(
  folder: pathlib.Path,
  kept: pathlib.Path,
  steps: int,
  habit_steps: int,
  seed: int,
  shape: DecoderConfig,
) -> None:
  """The same; the tokenizer is kept in a folder of its own until the weights are there."""
  template = prompts.load_template('compact')
  tokenizer = make_tokenizer(kept, template, seed)
  extra = {'tokenizer_digest': tokenizer.digest, 'eos_token_id': tokenizer.specials['<|im_end|>']}
  params = jax.jit(lambda key: Decoder(shape, key))(jax.random.key(seed))
  shared = shared_length(tokenizer, template, seed)
  parts = ((steps, 2e-3, demonstrations.Flaws()), (habit_steps, 5e-4, demonstrations.HABITS))
  for part, (count, rate, flaws) in enumerate(parts):
    params = warm_start.train(
      params,
      learning.learner(shape, unroll=True),
      Optimizer(rate, min(100, count), count, final=0.02, weight_decay=0.05),
      examples(tokenizer, template, flaws, seed + 10 * part),
      warm_start.Batching(shared, (112, 160, LIMIT), 4096),
      functools.partial(tell, f'warm start, part {part + 1}', count, time.monotonic()),
    )
  save.save_pretrained(params, shape, folder, kept, extra=extra)


def tell(name: str, count: int, began: float, step: int, loss: float, params: Any) -> None:
  """A line every 50 steps."""
  del params
  if step % 50 == 0 or step == count:
    line = f'{name}: step {step}/{count}  loss {loss:.4f}  {time.monotonic() - began:.0f}s'
    print(line, file=sys.stderr, flush=True)


def make_tokenizer(folder: pathlib.Path, template: prompts.Template, seed: int) -> tokens.Tokenizer:
  """Byte-level BPE over requests and demonstrations."""
  rng = random.Random(seed)
  everything = demonstrations.Flaws()
  texts = [template.render(SPECS)]
  for task in itertools.islice(generate.stream(seed + 1), 20_000):
    texts.append(''.join(getattr(part, 'text', '') for m in task.messages for part in m.content))
    texts.append(demonstrations.demonstrate(task, rng, flaws=everything))
  bpe.train(texts, folder, vocab_size=VOCAB, skeletons=demonstrations.SKELETONS)
  return tokens.load(folder)


def examples(
  tokenizer: tokens.Tokenizer,
  template: prompts.Template,
  flaws: demonstrations.Flaws,
  seed: int,
) -> Iterator[warm_start.Example]:
  """Endless demonstrations as tokens."""
  rng = random.Random(seed + 2)
  stop = tokenizer.specials['<|im_end|>']
  for task in generate.stream(seed + 3):
    prompt = prompts.render(task, tokenizer, SPECS, template, limit=LIMIT)
    text = demonstrations.demonstrate(task, rng, flaws=flaws)
    yield warm_start.Example(prompt.tokens, np.append(tokenizer.encode(text), stop).astype(np.int32))


def shared_length(tokenizer: tokens.Tokenizer, template: prompts.Template, seed: int) -> int:
  """How many tokens all prompts begin with: the system text and what leads to the request."""
  stream = examples(tokenizer, template, demonstrations.PERFECT, seed)
  some = [example.prompt for example in itertools.islice(stream, 100)]
  heads = np.stack([prompt[: min(map(len, some))] for prompt in some])
  return int((heads == heads[0]).all(0).argmin())


def main(_: list[str]) -> None:
  """Makes the policy."""
  chosen = flags.FLAGS
  make(pathlib.Path(chosen.out), chosen.steps, chosen.habit_steps, chosen.seed)


if __name__ == '__main__':
  flags.DEFINE_string('out', None, 'Folder to write.', required=True)
  flags.DEFINE_integer('steps', STEPS, 'Supervised steps of the first part.')
  flags.DEFINE_integer('habit_steps', HABIT_STEPS, 'Supervised steps of the second part.')
  flags.DEFINE_integer('seed', 0, 'Of everything random.')
  app.run(main)
