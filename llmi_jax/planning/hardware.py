"""What chips hold and how fast they are, as their makers state it."""

from typing import NamedTuple

from llmi_jax.core.errors import ConfigError


class Chip(NamedTuple):
  """One device as JAX counts them.

  Attributes:
    name: as in a slice's name.
    memory: bytes of high-bandwidth memory that programs may use.
    flops: dense bfloat16 operations per second.
    bandwidth: of that memory, bytes per second.
    link: to one neighbour, bytes per second and direction.
    shapes: of slices that exist; empty where any number of devices does.
  """

  name: str
  memory: float
  flops: float
  bandwidth: float
  link: float
  shapes: tuple[str, ...] = ()


_FLAT = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_CUBES = ('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16', '8x16x16')
# Public data sheets; memory as compilers grant it. A v7x chip is two devices, each with half of it. A link of
# a GPU is its whole NVLink bandwidth in one direction. The CPU's are a guess: its figures are for rehearsals.
CHIPS = {
  chip.name: chip
  for chip in (
    Chip('v5e', 15.75 * 2**30, 197e12, 0.82e12, 45e9, _FLAT),
    Chip('v5p', 95.74 * 2**30, 459e12, 2.77e12, 90e9, _CUBES),
    Chip('v6e', 31.25 * 2**30, 918e12, 1.64e12, 90e9, _FLAT),
    Chip('tpu7x', 94.75 * 2**30, 1153e12, 3.69e12, 100e9, _CUBES),
    Chip('h100', 80e9, 989e12, 3.35e12, 450e9),
    Chip('h200', 141e9, 989e12, 4.8e12, 450e9),
    Chip('cpu', 8 * 2**30, 0.2e12, 0.02e12, 10e9),
  )
}


def chip(name: str) -> Chip:
  """The chip of a name.

  Raises:
    ConfigError: nothing is known of it.
  """
  if name not in CHIPS:
    raise ConfigError(f'Nothing is known of the chip {name!r}; known are {", ".join(CHIPS)}.')
  return CHIPS[name]


def known() -> str:
  """A table of the slices that can be planned for."""
  lines = [f'{"chip":6} {"GiB":>6} {"Tflop/s":>8} {"GB/s":>6}  slices']
  for one in CHIPS.values():
    slices = (
      ', '.join(f'{one.name}:{shape}' for shape in one.shapes) or f'{one.name}:N, any number of devices'
    )
    size, rate, speed = one.memory / 2**30, one.flops / 1e12, one.bandwidth / 1e9
    lines.append(f'{one.name:6} {size:6.1f} {rate:8.0f} {speed:6.0f}  {slices}')
  return '\n'.join(lines)
