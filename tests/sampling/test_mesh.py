"""An engine on a mesh samples what one device samples, and moves neither cache nor weights to do so."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.models.config import DecoderConfig, Experts
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.sharding import ROLLOUT, Layout, make_mesh, shardings
from llmi_jax.programs import generation
from llmi_jax.sampling import rounds
from llmi_jax.sampling.engine import Engine, EngineConfig
from llmi_jax.sampling.keys import row_keys
from llmi_jax.sampling.request import Request

DENSE = DecoderConfig('Qwen3ForCausalLM', 64, 32, 48, layers=2, heads=4, kv_heads=2, head_dim=8)
SPARSE = dataclasses.replace(
  DENSE, architecture='Qwen3MoeForCausalLM', experts=Experts(4, 2, 16, True, (0, 1)), tied=False
)
SIZES = EngineConfig(
  rows=16,
  samples=2,
  first_bucket=8,
  prompt_slots=16,
  response_slots=16,
  chunk=4,
  vocab=64,
  width=32,
  stops=(1,),
  banned=(0,),
  prefill_tokens=8,
)


def policy(config):
  """Parameters large enough for distributions with a shape."""
  model = jax.jit(lambda key: Decoder(config, key))(jax.random.key(0))
  return jax.tree.map(lambda leaf: leaf * 3 if leaf.ndim > 1 else leaf, model)


def prompts(count=12):
  rng = np.random.default_rng(1)
  return [rng.integers(2, 64, rng.integers(2, 16)).astype(np.int32) for _ in range(count)]


def engine(config, sizes, mesh, agree=rounds.alone):
  """An engine and the function that makes what it reads."""
  layout = None
  if mesh:
    devices = jax.devices()[: int(np.prod(list(mesh.values())))]
    layout = Layout(make_mesh(mesh, devices), ROLLOUT)
    sizes = dataclasses.replace(sizes, shards=layout.size('batch'))
  model = generation.sampler(config, sizes, layout=layout)
  return (
    Engine(model, sizes, generation.places(layout), agree),
    generation.viewer(config=config, layout=layout),
    layout,
  )


def placed(config, layout):
  """Parameters as training has them on the mesh."""
  if layout is None:
    return policy(config)
  where = shardings(jax.eval_shape(lambda: policy(config)), Layout(layout.mesh), config)
  return jax.jit(lambda: policy(config), out_shardings=where)()


def run(config, sizes, mesh, samples=3, accord=None):
  """Samples by prompt and number; of this process's share where several run."""
  made, view, layout = engine(config, sizes, mesh, accord.agree if accord else rounds.alone)
  params = view(placed(config, layout))
  asked = list(enumerate(prompts()))
  asked = asked[accord.share(asked)] if accord else asked
  for i, prompt in asked:
    tasks, numbers = np.full(samples, i, np.uint32), np.arange(samples)
    made.submit(Request(i, prompt, row_keys(0, 'eval', 3, tasks, numbers), 16))
  out, going = {}, True
  while going:
    for sample in made.step(params):
      out[sample.id, sample.sample] = sample
    going = made.busy
  assert len(out) == samples * len(asked)
  return out


def equal(one, two):
  assert one.keys() == two.keys()
  for key in one:
    np.testing.assert_array_equal(one[key].tokens, two[key].tokens)
    np.testing.assert_allclose(one[key].logp_full, two[key].logp_full, atol=1e-5)
    np.testing.assert_allclose(one[key].logp_sampled, two[key].logp_sampled, atol=1e-5)


@pytest.fixture(scope='module')
def dense():
  return run(DENSE, SIZES, None)


@pytest.mark.parametrize('mesh', [{'fsdp': 4, 'tensor': 2}, {'replica': 2, 'fsdp': 4}])
def test_eight_devices_give_the_tokens_of_one(dense, mesh):
  equal(dense, run(DENSE, SIZES, mesh))


@pytest.mark.slow
@pytest.mark.parametrize('rows', [2, 64])
def test_any_number_of_slots_gives_the_same_tokens(dense, rows):
  equal(dense, run(DENSE, dataclasses.replace(SIZES, rows=rows), None))


@pytest.mark.slow
@pytest.mark.parametrize('mesh', [{'fsdp': 2, 'tensor': 2, 'expert': 2}, {'fsdp': 2, 'expert': 4}])
def test_experts_on_eight_devices_give_the_tokens_of_one(mesh):
  equal(run(SPARSE, SIZES, None), run(SPARSE, SIZES, mesh))


MOVED = re.compile(r'= \(?\w+\[([\d,]*)\][^=]*? (all-gather|all-to-all|collective-permute)(?:-start)?\(')


def moved(text):
  """Elements of the largest array that a compiled program sends between devices whole."""
  sizes = [np.prod([int(n) for n in dims.split(',') if n] or [1]) for dims, _ in MOVED.findall(text)]
  return int(max(sizes, default=0))


def test_decoding_moves_no_cache_and_no_weights():
  made, view, layout = engine(DENSE, SIZES, {'fsdp': 4, 'tensor': 2})
  params = view(placed(DENSE, layout))
  text = made.lower(params).compile().as_text()
  # A cache leaf has 16·1·4·8 elements per device, the least matrix 32·8; a column of rows has 16.
  assert 'all-reduce' in text
  assert moved(text) <= SIZES.rows * 2


def test_a_gathered_weight_would_be_seen():
  mesh = make_mesh({'fsdp': 4, 'tensor': 2}, jax.devices())
  layout = Layout(mesh)  # parameters are cut over fsdp, as in training
  made = Engine(
    generation.sampler(DENSE, dataclasses.replace(SIZES, shards=4), layout=layout),
    dataclasses.replace(SIZES, shards=4),
    generation.places(layout),
  )
  params = generation.viewer(config=DENSE, layout=layout)(placed(DENSE, layout))
  assert moved(made.lower(params).compile().as_text()) >= 32 * 8


def test_a_mesh_of_another_size_is_refused():
  layout = Layout(make_mesh({'fsdp': 4}, jax.devices()[:4]), ROLLOUT)
  with pytest.raises(ConfigError, match='4 shards and the engine into 1'):
    Engine(generation.sampler(DENSE, SIZES, layout=layout), SIZES, generation.places(layout))
