"""Where device memory went, and which keys ask for less; all of it in three lines."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

GIB = 2**30
_LARGEST = 5


class Key(NamedTuple):
  """A value that would ask for less."""

  name: str
  value: object
  instead_of: object


def budget(parts: Mapping[str, float]) -> str:
  """Bytes by part, the largest first, as a table with their sum."""
  rows = [*sorted(parts.items(), key=lambda part: -part[1]), ('in all', sum(parts.values()))]
  wide = max(len(name) for name, _ in rows)
  return '\n'.join(f'{name:<{wide}}  {_gib(size):>12}' for name, size in rows if size)


def exhausted(
  said: str, parts: Mapping[str, float], buffers: Sequence[tuple[str, int, int]], keys: Sequence[Key]
) -> str:
  """What is told when a device has no memory left.

  Args:
    said: what the device's allocator says.
    parts: bytes by part of the run.
    buffers: live arrays by shape: its words, how many there are, bytes of them together.
    keys: at most three, the most useful first.
  """
  whole = sorted(parts.items(), key=lambda part: -part[1])
  wanted = ', '.join(f'{name} {_gib(size)}' for name, size in whole if size)
  largest = sorted(buffers, key=lambda buffer: -buffer[2])[:_LARGEST]
  held = ', '.join(f'{count} × {words} {_gib(size)}' for words, count, size in largest) or 'none'
  asked = [f'--config.{key.name}={key.value} (it is {key.instead_of})' for key in keys[:3]]
  mend = ' or '.join(asked or ['more devices: config.mesh.fsdp'])
  return (
    f'Out of memory ({said}); the run wants {wanted}.\nLargest buffers now: {held}.\n'
    f'Ask for less with {mend}.'
  )


def _gib(size: float) -> str:
  return f'{size / GIB:.2f} GiB' if size >= GIB / 10 else f'{size / 2**20:.1f} MiB'
