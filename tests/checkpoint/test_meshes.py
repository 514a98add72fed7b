"""A policy that trains on eight devices is saved, and goes on with the same losses on four and on one."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from llmi_jax import update
from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import digest
from llmi_jax.models import sharding
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import learning
from llmi_jax.rl.loss import Surrogate
from llmi_jax.update import Optimizer, Rows

CONFIG = DecoderConfig(
  'Qwen3ForCausalLM', vocab=32, width=16, ff=32, layers=2, heads=2, kv_heads=2, head_dim=8
)
OPTIMIZER = Optimizer(1e-2, 1, 10)


def placed(state, sizes):
  """The state on a mesh, moments where their parameters are."""
  count = int(np.prod(list(sizes.values())))
  layout = sharding.Layout(sharding.make_mesh(sizes, jax.devices()[:count]))

  def one(path, leaf):
    name = sharding.leaf_name(path)
    if leaf.ndim == 0:
      return NamedSharding(layout.mesh, PartitionSpec())
    return layout.sharding(sharding.logical_axes(name, leaf.ndim))

  return jax.device_put(state, jax.tree_util.tree_map_with_path(one, state))


def rows(step):
  rng = np.random.default_rng(step)
  return Rows(
    prompt=rng.integers(0, 32, (2, 4)).astype(np.int32),
    prompt_len=np.array([4, 3], np.int32),
    tokens=rng.integers(0, 32, (4, 5)).astype(np.int32),
    length=np.full(4, 5, np.int32),
    mask=np.ones((4, 5), np.float32),
    logp_sampled=np.full((4, 5), -3.0, np.float32),
    advantage=np.array([1, -1, 0.5, -0.5], np.float32),
  )


def train(step, state, first, last):
  losses = []
  for number in range(first, last):
    one = rows(number)
    state, out = step(state, [(one, one.mask / one.mask.sum())])
    losses.append([float(out[name]) for name in ('loss', 'entropy', 'grad_norm')])
  return state, losses


@pytest.mark.slow
def test_eight_devices_go_on_as_four_and_as_one(tmp_path):
  model = jax.jit(lambda key: Decoder(CONFIG, key))(jax.random.key(0))
  step = learning.updater(
    learning.learner(CONFIG), OPTIMIZER, Surrogate(), temperature=1.0, banned=np.zeros(32, bool)
  )
  fresh = update.init(model, OPTIMIZER)
  kept = jax.device_get(fresh)
  state, _ = train(step, placed(kept, {'fsdp': 4, 'tensor': 2}), 0, 2)
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(2, state, {})
  checkpoints.wait()
  saved = digest(state)
  assert len({d for leaf in jax.tree.leaves(state.params) for d in leaf.sharding.device_set}) == 8
  _, wanted = train(step, state, 2, 5)
  for sizes in ({'fsdp': 4}, {'fsdp': 1}, {'fsdp': 2, 'tensor': 2}):
    found = checkpoints.restore(abstract(placed(kept, sizes)))
    assert found is not None and digest(found.state) == saved
    np.testing.assert_allclose(train(step, found.state, 2, 5)[1], wanted, rtol=1e-5, atol=1e-6)
  checkpoints.close()
