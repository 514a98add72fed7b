"""Which meshes a config may ask for, and how processes share out what there is."""

import asyncio
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from llmi_jax import pods
from llmi_jax.core.errors import ConfigError
from llmi_jax.rollout.accord import Accord


def devices(processes, each):
  return [
    types.SimpleNamespace(process_index=p, id=p * each + i) for p in range(processes) for i in range(each)
  ]


def sizes(**given):
  return ConfigDict({'replica': 1, 'fsdp': 1, 'tensor': 1, 'expert': 1} | given)


def owners(processes, each, **given):
  shape = tuple(sizes(**given)[axis] for axis in ('replica', 'fsdp', 'tensor', 'expert'))
  return np.repeat(np.arange(processes), each).reshape(shape)


def test_a_tiny_run_stays_on_one_device():
  assert pods.mesh(sizes(), devices(1, 8)) is None


def test_every_process_gives_as_many_devices():
  chosen = pods.choose(devices(2, 4)[::-1], 4)
  assert [(d.process_index, d.id) for d in chosen] == [(0, 0), (0, 1), (1, 4), (1, 5)]


@pytest.mark.parametrize(('places', 'processes', 'each'), [(3, 2, 4), (16, 2, 4), (1, 2, 4)])
def test_places_that_processes_cannot_fill_evenly_are_refused(places, processes, each):
  with pytest.raises(ConfigError, match='processes of 4 devices'):
    pods.choose(devices(processes, each), places)


@pytest.mark.parametrize(
  'given',
  [{'fsdp': 8}, {'fsdp': 4, 'tensor': 2}, {'replica': 2, 'tensor': 4}, {'fsdp': 2, 'tensor': 2, 'expert': 2}],
)
def test_heads_within_a_process_are_fine(given):
  pods.check(owners(2, 4, **given))


@pytest.mark.parametrize('given', [{'tensor': 8}, {'tensor': 4, 'expert': 2}, {'tensor': 2, 'expert': 4}])
def test_heads_across_processes_are_refused(given):
  with pytest.raises(ConfigError, match='divide the devices of a process'):
    pods.check(owners(2, 4, **given))


def test_experts_may_cross_processes():
  pods.check(owners(2, 4, expert=8))


@pytest.mark.parametrize(
  ('given', 'words'), [({'fsdp': 0, 'tensor': 3}, 'divide'), ({'tensor': 0}, '1 or more')]
)
def test_sizes_that_do_not_fit_are_refused(given, words):
  with pytest.raises(ConfigError, match=words):
    pods.mesh(sizes(**given), devices(1, 8))


@pytest.mark.parametrize(
  ('given', 'words'),
  [
    ({'processes': 2}, 'coordinator'),
    ({'coordinator': '127.0.0.1:1', 'processes': 2, 'process': 2}, '0 to 1'),
  ],
)
def test_numbers_of_processes_that_do_not_fit_are_refused(given, words):
  with pytest.raises(ConfigError, match=words):
    pods.join(ConfigDict({'coordinator': '', 'processes': 1, 'process': 0} | given))


def test_shares_are_whole_and_in_order():
  items = list(range(11))
  parts = [items[Accord(process, 3).share(items)] for process in range(3)]
  assert [item for part in parts for item in part] == items and {len(part) for part in parts} == {3, 4}


def test_alone_one_agrees_with_oneself():
  accord = Accord()
  accord.stop()
  assert accord.agree(np.array([1, 2], np.int32)).tolist() == [[1, 2]]
  assert accord.gather({'a': None}) == [{'a': None}]
  with pytest.raises(ValueError, match='planted'), accord.noting():
    raise ValueError('planted')
  asyncio.run(asyncio.to_thread(accord.leave))
  assert not accord.ended
