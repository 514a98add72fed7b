"""A training step moves adapters alone; what is frozen stays; records are the programs that run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import decoder, lora
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import generation, learning
from llmi_jax.sampling.logits import Sampling
from llmi_jax.update import state as states
from llmi_jax.update.loss import Goal
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.rows import Micro, Rows

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


def _model():
  return jax.jit(lambda key: Decoder(CONFIG, key))(jax.random.key(0))


def _trained(model, frozen=(), times=3):
  trained, fixed = lora.split(model, frozen)
  step = learning.updater(learning.learner(CONFIG), OPTIMIZER, Goal(), fixed=fixed)
  state, rows = states.fresh(trained, OPTIMIZER), _rows()
  for _ in range(times):
    state, out = step(state, [Micro(rows, rows.mask / rows.mask.sum())])
    assert np.isfinite(float(out['loss'])) and float(out['grad_norm']) > 0 and not float(out['skipped'])
  return state, fixed


def test_a_step_moves_adapters_alone_and_the_view_follows():
  model = lora.add(_model(), jax.random.key(1), 2, 4.0, ('attention.*', 'mlp.*'))
  trained, fixed = lora.split(model)
  before, start = jax.device_get(fixed), jax.device_get(trained)
  state, fixed = _trained(model)
  sizes = sum(leaf.size for leaf in jax.tree.leaves(start))
  assert sum(leaf.size for leaf in jax.tree.leaves(state.optimizer)) < 2 * sizes + 10
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


def test_frozen_parameters_have_no_gradient_no_moments_and_do_not_move():
  start = jax.device_get(_model())
  state, fixed = _trained(_model(), ('*.attention.*', 'embedding'), times=1)
  frozen = len(jax.tree.leaves(fixed))
  assert frozen == 1 + 6 and len(jax.tree.leaves(state.params)) == len(jax.tree.leaves(start)) - frozen
  whole = jax.device_get(lora.join(state.params, fixed))
  np.testing.assert_array_equal(whole.embedding[...], start.embedding[...])
  assert len(jax.tree.leaves(state.optimizer)) < 2 * len(jax.tree.leaves(state.params)) + 4
  with pytest.raises(ConfigError, match=r"No parameter is called 'tower\.\*'"):
    lora.split(_model(), ('tower.*',))


def test_records_lower_without_weights_and_are_the_programs_that_run():
  shapes = jax.eval_shape(lambda: Decoder(CONFIG, jax.random.key(0)))
  sizes = learning.Sizes(4, 2, ((5, 2), (8, 1)), updates=2)
  policy = learning.learner(CONFIG)
  made = learning.programs(policy, CONFIG, OPTIMIZER, Goal(), sizes, params=shapes)
  assert [p.name for p in made] == ['start', 'look 5', 'add 5', 'look 8', 'add 8', 'end']
  step = learning.steps(policy, OPTIMIZER, Goal(), None)
  model, rows = _model(), _rows()
  found = made[2].lower().compile().cost_analysis()
  before = step.look(model, rows, None)
  real = (
    step.add.lower(model, step.start(model), rows, rows.mask, None, None, before).compile().cost_analysis()
  )
  assert found['flops'] == real['flops'] > 0
  assert made[2].donated == (1,) and made[-1].lower().compile().memory_analysis().alias_size_in_bytes > 0


@pytest.mark.parametrize('sampling', [Sampling(top_k=5), Sampling(top_p=0.9), Sampling(min_p=0.1)])
def test_training_on_likely_tokens_only_is_refused(sampling):
  with pytest.raises(ConfigError, match='train with top_k=0, top_p=1 and min_p=0'):
    learning.check_sampling(sampling)
  learning.check_sampling(Sampling(0.7))
  with pytest.raises(ConfigError, match='temperature is 0'):
    learning.check_sampling(Sampling(0.0))


def test_a_dense_policy_has_no_experts_to_balance():
  with pytest.raises(ConfigError, match='this policy is dense'):
    learning.updater(learning.learner(CONFIG), OPTIMIZER, Goal(balance=0.1))
