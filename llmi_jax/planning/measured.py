"""What was found of one program."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple


class Memory(NamedTuple):
  """Bytes of a program on one chip, as its compiler has laid them out.

  Attributes:
    arguments: of all arguments.
    results: of all results.
    shared: of results that take over an argument's memory.
    temporary: of everything in between.
  """

  arguments: float
  results: float
  shared: float
  temporary: float

  @property
  def total(self) -> float:
    return self.arguments + self.results - self.shared + self.temporary


class Cost(NamedTuple):
  """What one run of a program asks of one chip.

  Attributes:
    flops: operations.
    traffic: bytes to and from its memory.
    links: bytes exchanged with others, by the mesh axes on which they lie, such as `fsdp` or `fsdp+tensor`.
  """

  flops: float
  traffic: float
  links: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Measured:
  """A program that was compiled.

  Attributes:
    name: of the program.
    memory: on a chip; None where it is more than a chip has, and then the rest says nothing.
    wanted: bytes that it would have needed then, 0 where the compiler does not tell.
    cost: of one run.
    compiled_in: seconds.
  """

  name: str
  memory: Memory | None
  cost: Cost
  wanted: float = 0.0
  compiled_in: float = 0.0

  @property
  def total(self) -> float:
    """Bytes on a chip, infinite where the compiler only tells that they are too many."""
    return self.memory.total if self.memory is not None else self.wanted or math.inf
