"""A training step with adapters moves them and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from llmi_jax import update
from llmi_jax.models import decoder, lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import generation, learning
from llmi_jax.rl.loss import Surrogate
from llmi_jax.update import Optimizer, Rows

CONFIG = DecoderConfig(
  'Qwen3ForCausalLM', vocab=32, width=16, ff=24, layers=2, heads=2, kv_heads=1, head_dim=8
)
OPTIMIZER = Optimizer(1e-2, 1, 10)


def _rows():
  rng = np.random.default_rng(0)
  mask = np.ones((4, 5), np.float32)
  return Rows(
    prompt=rng.integers(0, 32, (2, 4)).astype(np.int32),
    prompt_len=np.array([4, 3], np.int32),
    tokens=rng.integers(0, 32, (4, 5)).astype(np.int32),
    length=np.full(4, 5, np.int32),
    mask=mask,
    logp_sampled=np.full((4, 5), -3.0, np.float32),
    advantage=np.array([1, -1, 0.5, -0.5], np.float32),
  )


def test_a_step_moves_adapters_alone_and_the_view_follows():
  model = jax.jit(lambda key: Decoder(CONFIG, key))(jax.random.key(0))
  model = lora.add(model, jax.random.key(1), 2, 4.0, ('attention.*', 'mlp.*'))
  trained, fixed = lora.split(model)
  before, start = jax.device_get(fixed), jax.device_get(trained)
  step = learning.updater(
    learning.learner(CONFIG), OPTIMIZER, Surrogate(), temperature=1.0, banned=np.zeros(32, bool), fixed=fixed
  )
  state = update.init(trained, OPTIMIZER)
  sizes = sum(leaf.size for leaf in jax.tree.leaves(trained))
  assert sum(leaf.size for leaf in jax.tree.leaves(state.optimizer)) < 2 * sizes + 10
  rows = _rows()
  for _ in range(3):
    state, out = step(state, [(rows, rows.mask / rows.mask.sum())])
    assert np.isfinite(float(out['loss'])) and float(out['grad_norm']) > 0 and not float(out['skipped'])
  for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(jax.device_get(fixed)), strict=True):
    np.testing.assert_array_equal(a, b)
  assert all(
    (a != b).any() for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(state.params), strict=True)
  )
  view = generation.viewer(fixed)(state.params)
  wanted = decoder.decode_view(lora.join(state.params, fixed))
  assert jax.tree.structure(view) == jax.tree.structure(wanted)
  for a, b in zip(jax.tree.leaves(view), jax.tree.leaves(wanted)):
    np.testing.assert_array_equal(a, b)
  assert jnp.abs(view.layers[1].mlp.up.lora.b[...]).max() > 0
