"""How fast tools are: the sandbox against a cold interpreter, the dispatcher's own cost, many calls at once.

    python -m benchmarks.tools

Prints one line per figure; ratios are taken side by side in the same run, medians of several.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import numpy as np

from llmi_jax.core.outcome import Candidate
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.services import images
from llmi_jax.services.limits import Limit
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Context, Registry, Tool, success
from llmi_jax.tools.sandbox.host import Figures, Sandbox

PLOT = "plt.plot([1, 3, 2, 5])\nplt.title('Orders')\nplt.xlabel('week')"
REPEATS = 7
SPEC = ToolSpec('draw', 'Draws.', (Parameter('what', 'string', 'it'),))
PICTURE = images.from_array(np.zeros((8, 8, 3), np.uint8))


async def timed(work: Callable[[], Awaitable]) -> float:
  """Seconds of one run."""
  start = time.perf_counter()
  await work()
  return time.perf_counter() - start


async def plots() -> None:
  """A warm sandboxed line plot against a bare cold import of pyplot, and plots per second."""
  cold, warm, small = [], [], []
  sandbox, tiny = await Sandbox.open(), await Sandbox.open(Figures(3.2, 2.4, 60, 7, tight=False))
  try:
    await sandbox.run(PLOT)
    await tiny.run(PLOT)
    for _ in range(REPEATS):
      start = time.perf_counter()
      subprocess.run([sys.executable, '-c', 'import matplotlib.pyplot'], check=True)
      cold.append(time.perf_counter() - start)
      warm.append(await timed(lambda: sandbox.run(PLOT)))
      small.append(await timed(lambda: tiny.run(PLOT)))
    seconds = await timed(lambda: asyncio.gather(*(tiny.run(f'{PLOT}\n# {i}') for i in range(40))))
  finally:
    await sandbox.close()
    await tiny.close()
  bare, ours = statistics.median(cold), statistics.median(warm)
  print(f'tier {sandbox.tier}; {sandbox.versions}')
  print(f'cold import matplotlib.pyplot {bare * 1e3:.0f} ms')
  print(f'sandboxed line plot, 640×480, tight, warm {ours * 1e3:.0f} ms: {bare / ours:.1f}× faster')
  print(f'the same as the tiny run draws it {statistics.median(small) * 1e3:.0f} ms')
  print(f'{40 / seconds:.1f} plots per second, two at a time')


async def overhead() -> None:
  """What the dispatcher adds to a call that takes no time."""

  async def call(params, context):
    return success(Candidate(PICTURE))

  dispatcher = Dispatcher(Registry([Tool(SPEC, call)]), default=Limit(64, 10.0))
  (tool,) = dispatcher.registry
  count = 2000

  async def many():
    for i in range(count):
      await dispatcher.call(tool, {'what': str(i)}, Context(), 'draw:0')

  rounds = [await timed(many) for _ in range(3)]
  print(f'dispatcher {min(rounds) / count * 1e3:.2f} ms a call, best of three rounds of {count}')


async def crowd() -> None:
  """1,000 calls at once to a provider that takes a second, 250 at a time: four seconds at best."""

  async def call(params, context):
    await asyncio.sleep(1.0)
    return success(Candidate(PICTURE))

  dispatcher = Dispatcher(Registry([Tool(SPEC, call)]), default=Limit(250, 10.0))
  (tool,) = dispatcher.registry
  calls = [{'what': str(i)} for i in range(1000)]
  seconds = await timed(
    lambda: asyncio.gather(*(dispatcher.call(tool, params, Context(), 'draw:0') for params in calls))
  )
  print(f'1,000 calls of 1 s, 250 at a time: {seconds:.2f} s; the limit implies 4 s')


async def main() -> None:
  await overhead()
  await crowd()
  await plots()


if __name__ == '__main__':
  asyncio.run(main())
