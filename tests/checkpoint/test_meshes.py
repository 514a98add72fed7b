"""A policy that trains on eight devices is saved, and goes on with the same losses on four and on one."""

import jax
import numpy as np
import pytest

from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import digest
from llmi_jax.models import sharding
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import learning
from llmi_jax.update import state as states
from llmi_jax.update.loss import Goal
from llmi_jax.update.optimizer import Optimizer
from llmi_jax.update.rows import Micro, Rows

CONFIG = DecoderConfig(
  'Qwen3ForCausalLM', vocab=32, width=16, ff=32, layers=2, heads=2, kv_heads=2, head_dim=8
)
OPTIMIZER = Optimizer(1e-2, 1, 10)


class Trainer:
  """An update on a mesh, and how its states lie there."""

  def __init__(self, sizes):
    devices = jax.devices()[: int(np.prod(list(sizes.values())))]
    self.layout = sharding.Layout(sharding.make_mesh(sizes, devices))
    policy = learning.learner(CONFIG, layout=self.layout)
    self.step = learning.updater(policy, OPTIMIZER, Goal(), config=CONFIG, layout=self.layout)

  def place(self, state):
    return jax.device_put(state, learning.state_shardings(state, CONFIG, OPTIMIZER, self.layout))

  def train(self, state, first, last):
    losses = []
    for number in range(first, last):
      one = rows(number)
      state, out = self.step(state, [Micro(one, one.mask / one.mask.sum())])
      losses.append([float(out[name]) for name in ('loss', 'entropy', 'grad_norm')])
    return state, losses


def rows(step):
  rng = np.random.default_rng(step)
  return Rows(
    prompt=rng.integers(0, 32, (4, 4)).astype(np.int32),
    prompt_len=np.array([4, 3, 2, 4], np.int32),
    tokens=rng.integers(0, 32, (8, 5)).astype(np.int32),
    length=np.full(8, 5, np.int32),
    mask=np.ones((8, 5), np.float32),
    logp_sampled=np.full((8, 5), -3.0, np.float32),
    advantage=np.array([1, -1, 0.5, -0.5] * 2, np.float32),
  )


@pytest.mark.slow
def test_eight_devices_go_on_as_four_and_as_one(tmp_path):
  model = jax.jit(lambda key: Decoder(CONFIG, key))(jax.random.key(0))
  kept = jax.device_get(states.fresh(model, OPTIMIZER))
  eight = Trainer({'fsdp': 4, 'tensor': 2})
  state, _ = eight.train(eight.place(kept), 0, 2)
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(2, state, {})
  checkpoints.wait()
  saved = digest(state)
  assert len({d for leaf in jax.tree.leaves(state.params) for d in leaf.sharding.device_set}) == 8
  _, wanted = eight.train(state, 2, 5)
  for sizes in ({'fsdp': 4}, {'fsdp': 1}, {'fsdp': 2, 'tensor': 2}):
    other = Trainer(sizes)
    found = checkpoints.restore(abstract(other.place(kept)))
    assert found is not None and digest(found.state) == saved
    np.testing.assert_allclose(other.train(found.state, 2, 5)[1], wanted, rtol=1e-5, atol=1e-6)
  checkpoints.close()
