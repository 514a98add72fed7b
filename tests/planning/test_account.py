"""What a program holds and costs on a chip of a mesh."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from llmi_jax.models.sharding import make_mesh
from llmi_jax.planning import account, page
from llmi_jax.planning.hardware import Chip
from llmi_jax.planning.hlo import Collective
from llmi_jax.planning.measured import Cost, Measured, Memory
from llmi_jax.programs.program import Program

CHIP = Chip('toy', 100.0, 10.0, 5.0, 2.0)


@pytest.fixture(scope='module')
def mesh():
  return make_mesh({'fsdp': 2, 'tensor': 4}, jax.devices())


@pytest.mark.parametrize(
  ('groups', 'wanted'),
  [
    (((0, 1, 2, 3), (4, 5, 6, 7)), 'tensor'),
    (((0, 4), (1, 5)), 'fsdp'),
    (((0, 5),), 'fsdp+tensor'),
    ((), 'fsdp+tensor'),
    (((0,), (1,)), ''),
  ],
)
def test_groups_are_named_by_axes(mesh, groups, wanted):
  assert account.axes(groups, mesh) == wanted


def test_bytes_between_chips_by_axis(mesh):
  pairs, rows = ((0, 4), (1, 5)), ((0, 1, 2, 3), (4, 5, 6, 7))
  found = [
    Collective('all-gather', pairs, 3.0),
    Collective('all-reduce', pairs, 2.0),
    Collective('all-to-all', rows, 5.0),
    Collective('all-reduce', ((0,), (1,)), 9.0),
  ]
  assert account.links(found, mesh) == {'fsdp': 7.0, 'tensor': 5.0}


def test_seconds_are_those_of_the_slowest():
  found = account.seconds(Cost(50.0, 10.0, {'fsdp': 4.0, 'tensor': 4.0}), CHIP)
  assert found == (5.0, 2.0, 2.0) and found.longest == 5.0 and found.bound == 'compute'


def test_a_program_is_measured_where_it_would_lie(mesh):
  on = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
  x = jax.ShapeDtypeStruct((8, 64), jnp.float32, sharding=on('fsdp'))
  w = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=on(None, 'tensor'))
  assert account.held((x, w)) == 8 * 64 * 4 / 2 + 64 * 32 * 4 / 4
  function = jax.jit(lambda x, w: x @ w, out_shardings=on('fsdp', 'tensor'))
  found = account.measure(Program('product', function, (x, w)), mesh)
  assert found.memory and found.memory.arguments == account.held((x, w))
  assert found.memory.results == 8 * 32 * 4 / 8 and found.total == found.memory.total
  assert found.cost.flops == 2 * 8 * 64 * 32 / 8 and not found.cost.links
  assert found.cost.traffic == account.held((x, w)) + 8 * 32 * 4 / 8


def test_what_takes_over_memory_counts_once():
  assert Memory(10.0, 8.0, 6.0, 3.0).total == 15.0
  assert Measured('large', None, Cost(0, 0, {}), 7.0).total == 7.0
  assert Measured('large', None, Cost(0, 0, {})).total == float('inf')


def test_tables():
  phases = (
    page.Phase('sampling', {'parameters': 2.0**30, 'temporaries': 2.0**29}, 'decode'),
    page.Phase('learning', {'parameters': 2.0**30, 'gradients': 2.0**30, 'temporaries': 0.0}, 'add'),
  )
  chip = CHIP._replace(memory=2.0**32)
  assert page.memory(phases, chip).splitlines() == [
    '| GiB per chip | sampling | learning |',
    '|---|---:|---:|',
    '| parameters | 1 | 1 |',
    '| gradients | – | 1 |',
    '| temporaries | 0.5 | 0 |',
    '| **in all**, of 4.00 | **1.5** (38%) | **2** (50%) |',
    '| fullest in | decode | add |',
  ]
  runs = [page.Runs('sampling', Measured('decode', None, Cost(50.0, 10.0, {'tensor': 4e9})), 3)]
  row = page.times(runs, CHIP).splitlines()[-1]
  assert row == '| sampling | decode | 3 | 5e-11 | 1e-08 | tensor 4 | 15 | 6 | 3e+09 | links |'
  assert page.step(runs, CHIP) == {'sampling': 3e9}
