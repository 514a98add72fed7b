"""How a step's samples become updates, in one line; and the nearest sizes for those that do not divide."""

import dataclasses
from collections.abc import Sequence

from llmi_jax.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Geometry:
  """A step's sizes.

  Attributes:
    prompts: per step, of all processes.
    samples: per prompt.
    updates: per step.
    processes: that share the prompts.
    shards: of a process's samples, each on devices of its own.
    most: prompts per micro-batch and shard; 0 where tokens bound them.
    micro: prompts per micro-batch and shard that come about, the fewest and the most.
  """

  prompts: int
  samples: int
  updates: int = 1
  processes: int = 1
  shards: int = 1
  most: int = 0
  micro: tuple[int, int] = (1, 1)

  def check(self) -> None:
    """Refuses sizes that do not divide.

    Raises:
      ConfigError: naming the key, why, and the two nearest values that do.
    """
    parts = (
      ('config.optimizer.updates', self.updates, 'updates'),
      ('processes', self.processes, 'processes'),
      ('devices', self.shards, 'shards of devices'),
    )
    unit = self.updates * self.processes * self.shards
    if self.prompts % unit:
      words = ' × '.join(f'{count} {what}' for _, count, what in parts if count > 1)
      raise ConfigError(
        f'config.data.prompts is {self.prompts} prompts per step, which {words} do not share evenly; '
        f'the nearest that they do are {_either(multiples(self.prompts, unit))}.'
      )
    each = self.prompts // unit
    if self.most and self.most < each and each % self.most:
      raise ConfigError(
        f'config.optimizer.prompts is {self.most} prompts per micro-batch and does not divide the {each} of '
        f'an update; the nearest that do are {_either(divisors(each, self.most))}.'
      )

  def line(self) -> str:
    """Prompts × group = samples → micro-batch × devices × accumulation = updates."""
    each = self.prompts // (self.updates * self.processes * self.shards)
    few, many = (self.samples * min(count, each) for count in self.micro)
    rounds = [-(-each // min(count, each)) for count in reversed(self.micro)]
    devices = self.processes * self.shards
    return (
      f'Each step: {self.prompts} prompts × {self.samples} samples per prompt = '
      f'{_n(self.prompts * self.samples, "sample")} → micro-batches of {_span(few, many)} samples × '
      f'{_n(devices, "device group")} × {_span(*rounds)} accumulated = {_n(self.updates, "update")} of '
      f'{_n(self.prompts * self.samples // self.updates, "sample")}'
    )


def multiples(value: int, unit: int) -> tuple[int, int]:
  """The two multiples of `unit` nearest to `value`, from `unit` on."""
  below = max(unit, value // unit * unit)
  return below, below + unit


def divisors(value: int, near: int) -> tuple[int, ...]:
  """The divisors of `value` next below and next above `near`."""
  found = [d for d in range(1, value + 1) if value % d == 0]
  return tuple(
    [d for d in found if d < near][-1:] + [d for d in found if d > near][:1],
  )


def _either(values: Sequence[int]) -> str:
  return ' and '.join(map(str, values))


def _n(count: int, noun: str) -> str:
  return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def _span(few: int, many: int) -> str:
  return f'{few}' if few == many else f'{few} to {many}'
