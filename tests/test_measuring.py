"""The search for the largest micro-batch: compiled elsewhere, not at all, or in vain."""

import os

import pytest

from llmi_jax import front, measuring, planned
from llmi_jax.measuring import Bench
from llmi_jax.planning import topology
from llmi_jax.planning.measured import Cost, Measured, Memory


@pytest.fixture(scope='module')
def place():
  return topology.find('cpu:8')


@pytest.fixture(scope='module')
def run(place):
  keys = ('mesh.fsdp=4', 'mesh.tensor=2', 'data.prompts=32', 'mesh.sequence=True')
  config = front.read('configs/grpo_tiny.py', [f'--config.{key}' for key in keys])
  return planned.planned(config, place.devices, place.processes)


def abort(*_):
  os.abort()


def test_a_compiler_that_gives_up_is_told_and_counts_as_too_large(run, place, monkeypatch):
  monkeypatch.setattr(measuring, '_apart', abort)
  told = []
  found = Bench(run, place, told.append).apart(160, 3)
  assert found.total == float('inf') and found.name == 'add 160'
  assert told == [
    'Compiling add 160 of 3 prompts per shard …',
    '  the compiler gave up; this counts as too large',
  ]


@pytest.mark.slow
def test_elsewhere_it_is_as_here(run, place, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  found = Bench(run, place, lambda _: None).apart(64, 1)
  program = next(p for p in planned.learning(run, 1, (64,)) if p.name == 'add 64')
  here = Bench(run, place, lambda _: None)(program)
  assert here == found and found.memory is not None and found.cost.flops > 0


def test_what_cannot_fit_is_not_compiled(run, place, monkeypatch):
  # Each prompt takes thrice what it must; five fit. After four, eight cannot; six must be tried.
  least = measuring.least(run, 160)
  assert least == (run.config.prompt.tokens + 8 * 160) * 160 * 4 * 4 / 2
  asked = []

  def apart(self, width, groups):
    asked.append(groups)
    return Measured(f'add {width}', Memory(0.0, 0.0, 0.0, 3 * least * groups), Cost(0.0, 0.0, {}))

  monkeypatch.setattr(Bench, 'apart', apart)
  monkeypatch.setattr(
    Bench, '__call__', lambda self, program: Measured('end', Memory(0, 0, 0, 0), Cost(0, 0, {}))
  )
  base = {'parameters': 0.0, 'optimizer': 0.0}
  small = place._replace(chip=place.chip._replace(memory=15.5 * least))
  found = measuring.learn(run, Bench(run, small, lambda _: None), measuring.Lengths(256, 160), base)
  assert found[2] == 5 and run.each == 8 and asked == [2, 4, 6, 5]
