"""Makes the policy that comes with the package: its tokenizer, then a supervised warm start from nothing.

    python experiments/tiny_policy/make.py --out=llmi_jax/assets/tiny

The demonstrations are right only in part (wrong tools, wrong counts, broken tags, announcements), so that
reinforcement has something to mend; they copy their content words from the request exactly and hold no word
of the validation and test splits. About an hour on two cores.
"""

import itertools
import pathlib
import random
import time

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

OUT = flags.DEFINE_string('out', 'llmi_jax/assets/tiny', 'Folder to write.')
STEPS = flags.DEFINE_integer('steps', 2400, 'Supervised steps.')
SEED = flags.DEFINE_integer('seed', 0, 'Of everything random.')
SPECS = (search.SPEC, code.SPEC, edit.SPEC)
VOCAB, LIMIT = 1024, 256


def make_tokenizer(folder: pathlib.Path, template: prompts.Template) -> tokens.Tokenizer:
  """Byte-level BPE over requests and demonstrations."""
  rng = random.Random(SEED.value)
  texts = [template.render(SPECS)]
  for task in itertools.islice(generate.stream(SEED.value + 1), 20_000):
    texts.append(''.join(getattr(part, 'text', '') for m in task.messages for part in m.content))
    texts.append(demonstrations.demonstrate(task, rng, flaws=demonstrations.Flaws()))
  bpe.train(texts, folder, vocab_size=VOCAB, skeletons=demonstrations.SKELETONS)
  return tokens.load(folder)


def examples(tokenizer: tokens.Tokenizer, template: prompts.Template):
  """Endless demonstrations as tokens."""
  rng = random.Random(SEED.value + 2)
  stop = tokenizer.specials['<|im_end|>']
  for task in generate.stream(SEED.value + 3):
    prompt = prompts.render(task, tokenizer, SPECS, template, limit=LIMIT)
    text = demonstrations.demonstrate(task, rng, flaws=demonstrations.Flaws())
    yield warm_start.Example(prompt.tokens, np.append(tokenizer.encode(text), stop).astype(np.int32))


def main(_):
  folder = pathlib.Path(OUT.value)
  template = prompts.load_template('compact')
  tokenizer = make_tokenizer(folder, template)
  config = DecoderConfig(
    'Qwen3ForCausalLM',
    vocab=VOCAB,
    width=160,
    ff=448,
    layers=4,
    heads=4,
    kv_heads=2,
    head_dim=40,
    max_length=1024,
  )
  some = [e.prompt for e in itertools.islice(examples(tokenizer, template), 100)]
  heads = np.stack([prompt[: min(map(len, some))] for prompt in some])
  shared = int((heads == heads[0]).all(0).argmin())
  params = jax.jit(lambda key: Decoder(config, key))(jax.random.key(SEED.value))
  extra = {'tokenizer_digest': tokenizer.digest, 'eos_token_id': tokenizer.specials['<|im_end|>']}
  began = time.monotonic()

  def tell(step, loss, now):
    if step % 50 == 0:
      print(f'step {step}/{STEPS.value}  loss {loss:.4f}  {time.monotonic() - began:.0f}s', flush=True)
    if step % 200 == 0:
      save.save(now, config, folder, extra)

  params = warm_start.train(
    params,
    programs.learner(config, unroll=True),
    Optimizer(2e-3, 100, STEPS.value, final=0.02, weight_decay=0.05),
    examples(tokenizer, template),
    warm_start.Batching(shared, (112, 160, LIMIT), 4096),
    tell,
  )
  save.save(params, config, folder, extra)


if __name__ == '__main__':
  app.run(main)
