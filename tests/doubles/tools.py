"""Tools that fail: a share of all calls meets a fault of the environment, of every kind."""

import asyncio
import contextlib
import dataclasses
import hashlib
import sys

from llmi_jax import front, main, toolbox
from llmi_jax.tools.registry import Registry, ToolFailure

KINDS = ('quota', 'lost', 'bug', 'cancelled')


def faulty(registry: Registry, share: float, seed: int = 0) -> Registry:
  """The same tools; a call fails as a function of its parameters, its seed and `seed`."""
  return Registry([dataclasses.replace(tool, call=_faulty(tool, share, seed)) for tool in registry])


def wrap(make, share: float, seed: int = 0):
  """`toolbox.registry` with faults."""

  @contextlib.asynccontextmanager
  async def registry(config, device):
    async with make(config, device) as made:
      yield faulty(made, share, seed)

  return registry


def _faulty(tool, share, seed):
  async def call(params, context):
    # The place in the run is in the context's seed, so equal calls elsewhere may succeed.
    draw = hashlib.sha256(f'{seed}/{tool.spec.name}/{context.seed}'.encode()).digest()
    if int.from_bytes(draw[:4], 'big') / 2**32 >= share:
      return await tool.call(params, context)
    kind = KINDS[draw[4] % len(KINDS)]
    if kind == 'quota':
      raise ToolFailure('The quota is used up.', 'environment')
    if kind == 'lost':
      raise ConnectionResetError('The connection was reset.')
    if kind == 'cancelled':
      raise asyncio.CancelledError
    raise RuntimeError('A tool may have bugs.')

  return call


if __name__ == '__main__':
  # python -m tests.doubles.tools SHARE <arguments of llmi_jax.main>
  toolbox.registry = wrap(toolbox.registry, float(sys.argv.pop(1)))
  front.run(main.main)
