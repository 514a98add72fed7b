"""Moments that wait in the host's memory: the same numbers, another place."""

import dataclasses

import jax
import numpy as np
import pytest

from llmi_jax import front, offload, wiring
from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import differing
from llmi_jax.models import sharding
from llmi_jax.models.decoder import Decoder
from llmi_jax.programs import learning
from llmi_jax.update import state as states
from llmi_jax.update.loss import Goal
from llmi_jax.update.rows import Micro
from tests.checkpoint.test_meshes import CONFIG, OPTIMIZER, rows

AWAY = dataclasses.replace(OPTIMIZER, offload=True)
EIGHT = sharding.Layout(sharding.make_mesh({'fsdp': 4, 'tensor': 2}, jax.devices()))


def _fresh(layout):
  state = states.fresh(jax.jit(lambda key: Decoder(CONFIG, key))(jax.random.key(0)), OPTIMIZER)
  if layout is None:
    return state
  return jax.device_put(state, learning.state_shardings(state, CONFIG, OPTIMIZER, layout))


def _train(optimizer, state, layout, first=0, last=3):
  step = learning.updater(
    learning.learner(CONFIG, layout=layout), optimizer, Goal(), config=CONFIG, layout=layout
  )
  for number in range(first, last):
    one = rows(number)
    state, _ = step(state, [Micro(one, one.mask / one.mask.sum())])
  return state


def _kinds(tree):
  return {offload.is_away(leaf) for leaf in jax.tree.leaves(tree)}


def _away(state):
  return state._replace(optimizer=offload.away(state.optimizer))


@pytest.mark.parametrize('layout', [pytest.param(None, marks=pytest.mark.slow), EIGHT], ids=['one', 'eight'])
def test_training_is_the_same_to_the_bit_and_only_moments_are_away(layout):
  there = _train(OPTIMIZER, _fresh(layout), layout)
  away = _train(AWAY, _away(_fresh(layout)), layout)
  assert _kinds(away.optimizer) == {True} and _kinds((away.params, away.step)) == {False}
  back = offload.near(away)
  assert _kinds(back) == {False} and _kinds(there) == {False}
  assert differing(there, back) == {}


@pytest.mark.slow
def test_a_checkpoint_comes_back_to_the_place_that_is_asked_for(tmp_path):
  state = _train(AWAY, _away(_fresh(EIGHT)), EIGHT, 0, 1)
  saved = Checkpoints(tmp_path)
  saved.save(1, state, {})
  saved.wait()
  found = saved.restore(abstract(_away(_fresh(EIGHT)))).state
  near = saved.restore(abstract(_fresh(EIGHT))).state
  saved.close()
  assert _kinds(found.optimizer) == {True} and _kinds(near) == {False}
  assert differing(offload.near(found), near) == {} == differing(offload.near(state), near)


def test_a_copy_shares_no_memory_and_stays_where_the_original_is():
  state = _away(_fresh(EIGHT))
  copy = offload.copy(state)
  for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(copy), strict=True):
    assert one.sharding == other.sharding
    np.testing.assert_array_equal(one, other)
    own, new = (
      {part.data.unsafe_buffer_pointer() for part in leaf.addressable_shards} for leaf in (one, other)
    )
    assert not own & new


def test_the_config_of_a_run_from_before_it_existed_is_read():
  config = front.read('configs/grpo_vl_32b.py')
  assert wiring.optimizer(config).offload
  with config.unlocked():
    del config.optimizer['offload']
  assert not wiring.optimizer(config).offload
