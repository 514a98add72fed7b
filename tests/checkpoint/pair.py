"""One of several processes that save and restore plain arrays on a mesh; `test_peers` starts them.

python -m tests.checkpoint.pair --port=P --index=0 --count=2 --devices=4 --act=save --folder=DIR
"""

import argparse
import json
import pathlib
import resource
import signal
import sys
import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import digest
from llmi_jax.core.errors import LlmiError

PATIENCE = 12.0  # seconds


def state(step: float):
  """Arrays that are split over all devices, and some that are whole on each."""
  mesh = Mesh(jax.devices(), ('fsdp',))
  split, whole = NamedSharding(mesh, PartitionSpec('fsdp')), NamedSharding(mesh, PartitionSpec())

  def make():
    rows = jnp.arange(16 * 4096, dtype=jnp.float32).reshape(16, 4096) * step
    return {'w': rows, 'b': jnp.full(3, step, jnp.float32), 'step': jnp.asarray(step, jnp.int32)}

  return jax.jit(make, out_shardings={'w': split, 'b': whole, 'step': whole})()


def save(checkpoints: Checkpoints, index: int) -> dict:
  for step in (1, 2):
    checkpoints.save(step, state(step), {'seconds': step})
  checkpoints.wait()
  return {'steps': checkpoints.steps(), 'digest': digest(state(2))}


def restore(checkpoints: Checkpoints, index: int) -> dict:
  found = checkpoints.restore(abstract(state(0)))
  assert found is not None
  # What is restored works on: one more step of something, all processes together.
  more = jax.jit(lambda s: s['w'].sum() + s['b'].sum())(found.state)
  return {'step': found.step, 'digest': digest(found.state), 'sum': float(more), 'damaged': found.damaged}


def fail(checkpoints: Checkpoints, index: int) -> dict:
  """The second process may write no file beyond some bytes."""
  if index == 1:
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
  return save(checkpoints, index)


def silent(checkpoints: Checkpoints, index: int) -> dict:
  """The second process never comes to save."""
  if index == 1:
    time.sleep(2 * PATIENCE)
    return {}
  return save(checkpoints, index)


def main() -> None:
  parser = argparse.ArgumentParser()
  for name, kind in (('port', int), ('index', int), ('count', int), ('devices', int), ('act', str)):
    parser.add_argument(f'--{name}', type=kind, required=True)
  parser.add_argument('--folder', type=pathlib.Path, required=True)
  chosen = parser.parse_args()
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', chosen.devices)
  if chosen.count > 1:
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(
      f'127.0.0.1:{chosen.port}',
      chosen.count,
      chosen.index,
      coordinator_bind_address=f'127.0.0.1:{chosen.port}',
    )
  signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  began = time.monotonic()
  checkpoints = Checkpoints(chosen.folder, keep=2, patience=PATIENCE)
  try:
    said = {act.__name__: act for act in (save, restore, fail, silent)}[chosen.act](checkpoints, chosen.index)
  except LlmiError as error:
    said = {'error': str(error)}
  print(json.dumps(said | {'seconds': time.monotonic() - began}), flush=True)
  sys.stdout.flush()


if __name__ == '__main__':
  main()
