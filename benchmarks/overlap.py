"""A rollout whose tools and judges each sleep, against the same one in which they do not.

    python benchmarks/overlap.py

The built-in policy, tools and judges do their real work; every call first sleeps. A tool starts when its tag
is closed and a judge when its answer's tools are done, so only what the last responses ask for is waited
for. Prints a row for RESULTS.md: seconds, the ratio, and what the device did.
"""

import asyncio
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import jax
from absl import app, flags

from llmi_jax import front, judging, rewarding, toolbox, wiring
from llmi_jax.core.document import ToolCall
from llmi_jax.data.builtin import generate
from llmi_jax.models import decoder
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.episode import Calls, Judge, Scoring
from llmi_jax.rollout.rollout import Roller, rollout
from llmi_jax.rollout.timeline import Timeline

LATENCY = flags.DEFINE_float('latency', 2.0, 'Seconds that every tool and every judge sleeps.')
PROMPTS = flags.DEFINE_integer('prompts', 240, 'Requests; enough for ten seconds of decoding or more.')
ROWS = flags.DEFINE_integer('rows', 8, 'Prompts whose samples are decoded together.')
CONFIG = str(pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'grpo_tiny.py')
SAMPLES = 8


class Sleeping:
  """The calls of one response, each of which sleeps beside its work."""

  def __init__(self, calls: Calls, seconds: float):
    self._calls, self._seconds = calls, seconds
    self._sleeps: list[asyncio.Task[None]] = []

  def submit(self, segment: Any) -> None:
    self._calls.submit(segment)
    if isinstance(segment, ToolCall):
      self._sleeps.append(asyncio.create_task(asyncio.sleep(self._seconds)))

  async def finish(self) -> Any:
    await asyncio.gather(*self._sleeps)
    return await self._calls.finish()

  async def cancel(self) -> None:
    for sleep in self._sleeps:
      sleep.cancel()
    await self._calls.cancel()


def sleeping(scoring: Scoring, seconds: float) -> Scoring:
  """The same scoring, `seconds` later per tool and per judge."""

  def later(judge: Judge) -> Callable[..., Awaitable[Any]]:
    async def ask(*args):
      await asyncio.sleep(seconds)
      return await judge(*args)

    return ask

  judges = [later(judge) for judge in scoring.judges]
  return dataclasses.replace(scoring, open=lambda *at: Sleeping(scoring.open(*at), seconds), judges=judges)


async def measure() -> None:
  config = front.read(CONFIG, [])
  policy = wiring.load_policy(config.policy.path)
  tasks = generate.tasks('train')[: PROMPTS.value]
  device = Device()
  try:
    async with toolbox.registry(config.tools, device) as registry:
      dispatcher = toolbox.dispatcher(registry, config.tools)
      scoring = rewarding.scoring(dispatcher, rewarding.reward(config.reward), judging.programs(), 0)
      roller = Roller(
        device,
        wiring.engine(policy, config, ROWS.value, SAMPLES),
        wiring.language(policy, registry, config.prompt),
        scoring,
        0,
        config.sampler.tokens,
        wiring.sight(policy),
      )
      params = await device.run(jax.jit(decoder.decode_view), policy.model)

      async def step(seconds: float) -> dict[str, float]:
        timeline = Timeline()
        slow = dataclasses.replace(roller, scoring=sleeping(scoring, seconds))
        await rollout(slow, params, tasks, SAMPLES, 0, 'train', timeline)
        return timeline.scalars()

      await step(0.0)  # compiles, and finds the pictures
      instant, slept = await step(0.0), await step(LATENCY.value)
  finally:
    device.close()
  print(
    f'{len(tasks)} × {SAMPLES} responses, {ROWS.value * SAMPLES} rows, tools and judges {LATENCY.value:g} s'
  )
  for name, told in (('instant', instant), ('sleeping', slept)):
    words = '  '.join(f'{kind.removeprefix("time/")} {seconds:.2f} s' for kind, seconds in told.items())
    print(f'{name:<9} {words}')
  print(f'ratio {slept["time/step"] / instant["time/step"]:.3f}')


def main(_: list[str]) -> None:
  asyncio.run(measure())


if __name__ == '__main__':
  app.run(main)
