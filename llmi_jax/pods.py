"""Several processes and their devices, from a config: how they find each other, and the mesh they make.

`config.distributed` names the coordinator, a `host:port` of process 0 that all can reach; `auto` leaves all
of it to JAX, which knows TPU pods, Slurm, Open MPI and Kubernetes by itself; empty is one process alone.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from llmi_jax.core.errors import ConfigError
from llmi_jax.models.sharding import MESH_AXES, ROLLOUT, SEQUENCE, TRAIN, Layout, make_mesh

# A ConfigDict; its values' types are only known to its file, so checkers must not guess.
Config = Any
HEARTBEAT = 30  # seconds of silence after which a process counts as lost
START = 300  # seconds that processes wait for each other at the start


class Layouts(NamedTuple):
  """Where a run's arrays lie.

  Attributes:
    train: while it learns; None on one device.
    rollout: while it samples, likewise.
    shards: into which a process's rows are cut.
  """

  train: Layout | None
  rollout: Layout | None
  shards: int


ALONE = Layouts(None, None, 1)


def join(config: Config) -> None:
  """Finds the other processes; to be called before anything touches a device.

  Args:
    config: `config.distributed` of a run.

  Raises:
    ConfigError: the numbers do not fit, or the processes do not find each other.
  """
  if not config.coordinator:
    if config.processes != 1:
      raise ConfigError(
        f'config.distributed.processes is {config.processes} and no coordinator is named; set '
        'config.distributed.coordinator to HOST:PORT of process 0.'
      )
    return
  timing: Any = {'heartbeat_timeout_seconds': HEARTBEAT, 'shutdown_timeout_seconds': HEARTBEAT}
  try:
    if config.coordinator == 'auto':
      jax.distributed.initialize(initialization_timeout=START, **timing)
      return
    if not 0 <= config.process < config.processes:
      raise ConfigError(
        f'config.distributed.process is {config.process}; with {config.processes} processes it is one of '
        f'0 to {config.processes - 1}.'
      )
    jax.distributed.initialize(
      config.coordinator, config.processes, config.process, initialization_timeout=START, **timing
    )
  except (RuntimeError, ValueError) as error:
    words = (str(error).splitlines() or [type(error).__name__])[0][:200]
    raise ConfigError(
      f'The processes do not find each other at config.distributed.coordinator={config.coordinator} '
      f'({words}); start all of them within {START} s, with an address of process 0 that all can reach.'
    ) from error


def leave() -> None:
  """Lets go of the other processes, where there are some; those that are lost are not waited for."""
  if jax.distributed.is_initialized():
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      jax.distributed.shutdown()


def mesh(config: Config, devices: Sequence[Any]) -> Mesh | None:
  """The mesh of a run, or None where one device does.

  Args:
    config: `config.mesh` of a run: sizes by axis; an `fsdp` of 0 takes what the others leave.
    devices: of all processes.

  Raises:
    ConfigError: the sizes do not fit the devices, or cut what must stay within a process.
  """
  sizes = {axis: int(config[axis]) for axis in MESH_AXES}
  rest = int(np.prod([size for axis, size in sizes.items() if axis != 'fsdp']))
  if min(sizes.values()) < 0 or rest < 1:
    raise ConfigError(f'config.mesh is {sizes}; sizes are 1 or more, and fsdp may be 0 for what is left.')
  if not sizes['fsdp']:
    if len(devices) % rest:
      raise ConfigError(
        f'config.mesh leaves {len(devices)} devices to share between {rest} places; '
        'let replica × tensor × expert divide their number.'
      )
    sizes['fsdp'] = len(devices) // rest
  chosen = choose(devices, rest * sizes['fsdp'])
  if len(chosen) == 1:
    return None
  made = make_mesh(sizes, chosen)
  check(np.vectorize(lambda device: device.process_index)(made.devices))
  return made


def choose(devices: Sequence[Any], count: int) -> list[Any]:
  """The first devices of each process, equally many of each, in order of processes.

  Raises:
    ConfigError: that cannot be.
  """
  by_process: dict[int, list[Any]] = {}
  for device in sorted(devices, key=lambda device: (device.process_index, device.id)):
    by_process.setdefault(device.process_index, []).append(device)
  each, over = divmod(count, len(by_process))
  least = min(map(len, by_process.values()))
  if over or each > least:
    raise ConfigError(
      f'config.mesh has {count} places and there are {len(by_process)} processes of {least} devices; '
      f'make its sizes multiply to a multiple of {len(by_process)}, at most {len(by_process) * least}.'
    )
  return [device for own in by_process.values() for device in own[:each]]


def check(owners: np.ndarray) -> None:
  """Refuses a mesh that tears what processes must have whole: rows go to processes in order, and a row's
  heads are all in one process.

  Args:
    owners: process index of each device, shaped like the mesh.

  Raises:
    ConfigError: naming the axis.
  """
  tensor = np.moveaxis(owners, MESH_AXES.index('tensor'), -1)
  if (tensor != tensor[..., :1]).any():
    raise ConfigError(
      f'config.mesh has tensor={tensor.shape[-1]} and expert={owners.shape[-1]}, so that heads of one row '
      'would lie in several processes; let tensor × expert divide the devices of a process.'
    )
  shards = tensor[..., 0].reshape(-1)
  if (np.diff(shards) < 0).any():
    raise ConfigError('config.mesh does not give processes their rows in order; use another order of axes.')


def layouts(config: Config, devices: Sequence[Any], processes: int) -> Layouts:
  """A run's layouts; see `mesh`."""
  made = mesh(config, devices)
  if made is None:
    return ALONE
  train, rollout = Layout(made, SEQUENCE if config.sequence else TRAIN), Layout(made, ROLLOUT)
  return Layouts(train, rollout, train.size('batch') // processes)
