"""Devices of a slice that is not there: `v5p:4x4x4`, `v6e:8x8`; or of this host: `cpu:8`, `h200:8`.

TPU programs are compiled by libtpu, which needs no TPU. For a GPU the program is compiled for host devices in
the same mesh, so its collectives and its memory are those of another compiler.
"""

import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from llmi_jax.core.errors import ConfigError
from llmi_jax.planning.hardware import Chip, chip


class Slice(NamedTuple):
  """What is planned for.

  Attributes:
    name: as it was asked for.
    chip: of each device.
    devices: to compile for.
    processes: hosts that they belong to.
    exact: whether the compiler is that of the chip.
  """

  name: str
  chip: Chip
  devices: Sequence[Any]
  processes: int
  exact: bool


def read(name: str) -> tuple[Chip, str]:
  """Chip and shape of a slice's name.

  Raises:
    ConfigError: the name is none, or the chip or the slice is unknown.
  """
  found = re.fullmatch(r'([a-z0-9]+):(\d+(?:x\d+)*)', name)
  if not found:
    raise ConfigError(
      f'--topology={name} is no slice; write CHIP:SHAPE, such as v5p:4x4x4 or cpu:8 '
      '(--topology=help lists all).'
    )
  known, shape = chip(found[1]), found[2]
  if known.shapes and shape not in known.shapes:
    raise ConfigError(f'There is no slice {name}; of {known.name} there are {", ".join(known.shapes)}.')
  if not known.shapes and not (shape.isdigit() and int(shape)):
    raise ConfigError(f'--topology={name} is no number of devices; write {known.name}:8, for example.')
  return known, shape


def prepare(name: str) -> None:
  """Has JAX, which must not have started, compile for a slice; an accelerator of this host stays free.

  Raises:
    ConfigError: see `read`.
  """
  known, shape = read(name)
  jax.config.update('jax_platforms', 'cpu')
  if not known.shapes:
    jax.config.update('jax_num_cpu_devices', int(shape))


def find(name: str) -> Slice:
  """The slice of a name.

  Raises:
    ConfigError: see `read`; or libtpu is missing, or this process has too few devices.
  """
  known, shape = read(name)
  devices = _tpus(name) if known.shapes else _hosts(name, int(shape))
  processes = len({device.process_index for device in devices})
  return Slice(name, known, devices, processes, bool(known.shapes) or known.name == 'cpu')


def _hosts(name: str, wanted: int) -> Sequence[Any]:
  devices = jax.devices('cpu')
  if len(devices) < wanted:
    raise ConfigError(
      f'--topology={name} asks for {wanted} devices and this process has {len(devices)}; they must be asked '
      'for before JAX starts, as `python -m llmi_jax.plan` does.'
    )
  return devices[:wanted]


def _tpus(name: str) -> Sequence[Any]:
  if importlib.util.find_spec('libtpu') is None:
    raise ConfigError(
      f'--topology={name} needs the compiler for TPUs, which is not installed; `pip install libtpu` adds it '
      'and needs no TPU.'
    )
  # Several may plan at once: no TPU is touched. Without the others libtpu asks the cloud's metadata server
  # what machine this is.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', name.replace(':', '-'))
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  from jax.experimental import topologies

  try:
    return topologies.get_topology_desc(platform='tpu', topology_name=name).devices
  except (RuntimeError, ValueError, NotImplementedError) as error:
    words = (str(error).splitlines() or [type(error).__name__])[0][:200]
    raise ConfigError(
      f'libtpu cannot make --topology={name} ({words}); use another slice, or a newer libtpu.'
    ) from error
