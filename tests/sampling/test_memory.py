"""Keys and values exist once: what programs need beside the donated state is small."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from llmi_jax.models import decoder
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import generation
from llmi_jax.sampling import loop
from llmi_jax.sampling.engine import EngineConfig
from llmi_jax.sampling.logits import Sampling
from llmi_jax.sampling.state import Chunk, Sizes, start

CONFIG = DecoderConfig(
  'Qwen3ForCausalLM', 1024, 256, 512, layers=8, heads=8, kv_heads=4, head_dim=64, max_length=8192
)
SIZES = EngineConfig(
  rows=64, samples=8, prompt_slots=1024, response_slots=2048, vocab=1024, width=256, stops=(1,)
)


def size(tree):
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_no_program_holds_a_second_cache():
  array, model = jax.ShapeDtypeStruct, generation.sampler(CONFIG, SIZES)
  sizes = Sizes(1, 8, 64, 8, 256, jnp.float32)
  state = jax.eval_shape(lambda: start(model, sizes, 1024, 2048))
  params = jax.eval_shape(lambda key: decoder.decode_view(Decoder(CONFIG, key)), jax.random.key(0))
  cache = size((state.prompts.kv, state.rows.kv))
  assert cache > 2 << 30
  number = array((), jnp.int32)
  decode = jax.jit(partial(loop.decode, model, steps=16, sampling=Sampling()), donate_argnums=1)
  chunk = Chunk(*[array((1, 1024), jnp.int32)] * 2, *[array((1,), jnp.int32)] * 4)
  prefill = jax.jit(partial(loop.prefill, model, first=False), donate_argnums=1)
  lowered = {
    'decode': decode.lower(params, state, array((1024,), bool), array((1,), jnp.int32), number),
    'prefill': prefill.lower(params, state, chunk, None),  # also holds a chunk's own activations
  }
  for name, limit in (('decode', 0.05), ('prefill', 0.08)):
    used = lowered[name].compile().memory_analysis()
    assert used.alias_size_in_bytes >= cache
    assert used.temp_size_in_bytes < limit * cache, (name, used)
