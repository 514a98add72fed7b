"""Programs of a run → what each holds on a chip and how long it takes there.

Measured from the compiled program: its memory. Counted: operations from the traced program, so that a
compiler's tricks do not enter; and bytes, moved to and from memory and between chips, from its compiled text.
Estimated: times, as if a chip did all three at its makers' speeds and at once.
"""

import dataclasses
import math
import re
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from llmi_jax.planning import flops, hlo
from llmi_jax.planning.hardware import Chip
from llmi_jax.planning.known import Known
from llmi_jax.planning.measured import Cost, Measured, Memory
from llmi_jax.programs.program import Program

# A ring sends both ways; an all-reduce is a reduce-scatter and an all-gather.
WAYS = 2
PASSES = {'all-reduce': 2.0}
_USED = re.compile(r'Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm')
_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


class Seconds(NamedTuple):
  """Of one run, by what it is spent on."""

  compute: float
  memory: float
  links: float

  @property
  def longest(self) -> float:
    return max(self)

  @property
  def bound(self) -> str:
    return self._fields[self.index(max(self))]


def measure(program: Program, mesh: Mesh | None, known: Known | None = None) -> Measured:
  """Compiles a program and looks at it.

  Args:
    program: whose arguments are placed on the mesh.
    mesh: of the devices that are compiled for; None for one.
    known: what was found before and need not be compiled again.
  """
  began = time.monotonic()
  traced = program.trace()
  devices = 1 if mesh is None else mesh.devices.size
  operations = flops.flops(traced.jaxpr) / devices
  lowered = traced.lower()
  text = lowered.as_text() if known else ''
  if known and (before := known.read(text)):
    return before
  try:
    found = _look(program.name, lowered.compile(), operations, mesh)
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    found = Measured(program.name, None, Cost(operations, 0.0, {}), _wanted(str(error)))
  found = dataclasses.replace(found, compiled_in=time.monotonic() - began)
  if known:
    known.write(text, found)
  return found


def _look(name: str, compiled: Any, operations: float, mesh: Mesh | None) -> Measured:
  used = compiled.memory_analysis()
  memory = Memory(
    used.argument_size_in_bytes,
    used.output_size_in_bytes,
    used.alias_size_in_bytes,
    used.temp_size_in_bytes,
  )
  module = hlo.parse(compiled.as_text())
  return Measured(name, memory, Cost(operations, hlo.traffic(module), links(hlo.collectives(module), mesh)))


def _wanted(words: str) -> float:
  found = _USED.search(words)
  return float(found[1]) * _UNITS[found[2]] if found else 0.0


def links(exchanged: list[hlo.Collective], mesh: Mesh | None) -> dict[str, float]:
  """Bytes by mesh axes, those of an all-reduce twice."""
  found: dict[str, float] = {}
  for one in exchanged:
    name = axes(one.groups, mesh)
    if not name:
      continue  # every device is alone
    found[name] = found.get(name, 0.0) + PASSES.get(one.kind, 1.0) * one.size
  return found


def axes(groups: tuple[tuple[int, ...], ...], mesh: Mesh | None) -> str:
  """The mesh axes along which the members of groups differ."""
  if mesh is None:
    return ''
  shape = mesh.devices.shape
  group = max(groups, key=len, default=()) or tuple(range(math.prod(shape)))
  places = np.array(np.unravel_index(np.array(group), shape))
  return '+'.join(name for name, row in zip(mesh.axis_names, places) if (row != row[0]).any())


def seconds(cost: Cost, chip: Chip) -> Seconds:
  """How long one run takes at the makers' speeds."""
  return Seconds(
    cost.flops / chip.flops, cost.traffic / chip.bandwidth, sum(cost.links.values()) / (WAYS * chip.link)
  )


def held(tree: Any) -> float:
  """Bytes of a tree's leaves on one chip: what is not placed is whole on each."""
  total = 0
  for leaf in jax.tree.leaves(tree):
    where = getattr(leaf, 'sharding', None)
    shape = leaf.shape if where is None else where.shard_shape(leaf.shape)
    total += math.prod(shape) * np.dtype(leaf.dtype).itemsize if hasattr(leaf, 'dtype') else 0
  return float(total)
