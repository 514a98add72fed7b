"""Scaled answers whose tools, judges and polisher each sleep, against their critical path.

    python benchmarks/tts.py

The tiny policy, the built-in tools and the offline judges do their real work; every call first sleeps. The
critical path is what the same answers take without sleeping, and one sleep for each call that must wait for
another: an edit for its picture, a choice for what is chosen from, a stage for the one before. Prints rows
for RESULTS.md.
"""

import asyncio
import contextlib
import dataclasses
import pathlib
import re
import time

from absl import app, flags
from ml_collections import ConfigDict

from configs import tools
from llmi_jax import crews, front, scaling, toolbox, wiring
from llmi_jax.core.answer import Answer, Prose
from llmi_jax.core.task import Task
from llmi_jax.data.builtin import generate as builtin
from llmi_jax.rollout.device import Device
from llmi_jax.tools.registry import Registry
from llmi_jax.tts import places, polish
from llmi_jax.tts.pipeline import Result

LATENCY = flags.DEFINE_float('latency', 2.0, 'Seconds that every tool, judge and polishing sleeps.')
TASKS = flags.DEFINE_integer('tasks', 6, 'Tasks, one after the other.')
ROOT = pathlib.Path(__file__).resolve().parents[1]
FULL = (
  'sample.n=8',
  'select.k=2',
  'enhance.m=3',
  'enhance.repairer=none',
  'polish.on=true',
  'budget.seconds=0.0',
)


class Sleep:
  """How long everybody sleeps now."""

  def __init__(self):
    self.seconds = 0.0

  async def __call__(self) -> None:
    await asyncio.sleep(self.seconds)


def slow_tools(make, sleep: Sleep):
  """`toolbox.registry` with tools that sleep."""

  def slow(tool):
    async def call(params, context):
      await sleep()
      return await tool.call(params, context)

    return dataclasses.replace(tool, call=call)

  @contextlib.asynccontextmanager
  async def registry(config, device):
    async with make(config, device) as made:
      yield Registry([slow(tool) for tool in made])

  return registry


def slow_judges(make, sleep: Sleep):
  """`crews.programs` likewise; the two judges sleep beside each other."""

  def slow(ask):
    async def judged(task, answer):
      await sleep()
      return await ask(task, answer)

    return judged

  return lambda: [slow(ask) for ask in make()]


def slow_polisher(sleep: Sleep):
  """One who really rewrites: he adds a sentence, and keeps the marks."""

  def make(*_, **__):
    async def ask(task: Task, answer: Answer) -> str:
      await sleep()
      number, pieces = 0, []
      for part in answer.parts:
        if isinstance(part, Prose):
          pieces.append(part.text)
        else:
          number += 1
          pieces.append(f'[[{number}:{polish.code(answer)}]]')
      return ''.join(pieces) + ' That is all there is to say.'

    return ask

  return make


def depth(result: Result, specs) -> int:
  """Calls that wait for each other, over the longest way through the tree."""
  tree = result.tree
  stages = {fate.stage for fate in tree.fates}
  samples = [r.answer for r in tree.revisions if r.parent is None]
  total = max((chain(answer, specs, lambda position: 1) for answer in samples), default=0)
  total += 'select' in stages
  longest = 0
  dropped = {fate.revision for fate in tree.fates if fate.stage in ('filter', 'select') and not fate.kept}
  for index, revision in enumerate(tree.revisions):
    if revision.parent is None and index not in dropped:
      made = next((r for r in tree.revisions if r.parent == index and r.stage == 'enhance'), None)
      changed = made.changed if made else ()
      words = ' '.join(note.words for note in tree.notes if f'Sample {tree.sample(index)},' in note.words)
      picked = {int(p) for p in re.findall(r'place (\d+): [^:]*, of \d', words)}
      calls, outcomes = places.calls(revision.answer), places.outcomes(revision.answer)

      def cost(position, calls=calls, outcomes=outcomes, changed=changed, picked=picked) -> int:
        moved = any(source in changed for source in places.needs(calls[position], specs))
        # Built-in edits take no seed, so only search is asked for more.
        asked = calls[position].tool == 'search' and outcomes[position].image is not None
        return moved + asked + (position in picked)

      longest = max(longest, chain(revision.answer, specs, cost) + (made is not None))
  total += longest
  polished = any(r.stage == 'polish' for r in tree.revisions)
  return total + ('polish' in stages) + polished


def chain(answer: Answer, specs, cost) -> int:
  """The most expensive chain of calls in which each works on the picture of the one before."""
  calls, ends = places.calls(answer), dict[int, int]()
  for position, call in calls.items():
    sources = [ends.get(source, 0) for source in places.needs(call, specs)]
    ends[position] = cost(position) + max(sources, default=0)
  return max(ends.values(), default=0)


async def measure() -> None:
  sleep = Sleep()
  toolbox.registry = slow_tools(toolbox.registry, sleep)
  crews.programs = slow_judges(crews.programs, sleep)
  crews.polish.polisher = slow_polisher(sleep)
  run = front.read(str(ROOT / 'configs' / 'grpo_tiny.py'))
  with run.unlocked():
    for name in run.tools.names:  # providers that bear what is asked of them: their queues are not ours
      run.tools[name] = run.tools.get(name, ConfigDict())
      run.tools[name].limit = tools.limit(64, 60.0)
  chosen = front.read(str(ROOT / 'configs' / 'tts_small.py'), [f'--config.{change}' for change in FULL])
  policy, device = wiring.load_policy(run.policy.path), Device()
  tasks = [task for task in builtin.tasks('test') if len(task.required_tools) > 1][: TASKS.value]
  found: list[Result] = []
  try:
    parts = scaling.policy(
      chosen, run, policy, device, seed=0, told=lambda task, n, result: found.append(result)
    )
    async with toolbox.registry(run.tools, device) as registry:
      specs = registry.specs
    async with parts as generate:
      walls = {}
      for name, seconds in (('warm', 0.0), ('instant', 0.0), ('sleeping', LATENCY.value)):
        sleep.seconds = seconds
        found.clear()
        for task in tasks:
          started = time.perf_counter()
          await generate(task, 1, 0)
          walls.setdefault(name, []).append(time.perf_counter() - started)
        if name == 'sleeping':
          depths = [depth(result, specs) for result in found]
  finally:
    device.close()
  critical = [instant + LATENCY.value * d for instant, d in zip(walls['instant'], depths)]
  print(f'{len(tasks)} tasks, n = 8, k = 2, m = 3, polished once; {LATENCY.value:g} s a call')
  for task, instant, d, wall, best, result in zip(
    tasks, walls['instant'], depths, walls['sleeping'], critical, found
  ):
    total = result.account.total
    print(
      f'{task.id}  instant {instant:.2f} s  depth {d}  critical {best:.2f} s  wall {wall:.2f} s  '
      f'ratio {wall / best:.3f}  calls {total.calls}  in sum {total.seconds:.1f} s'
    )
  print(
    f'all  critical {sum(critical):.2f} s  wall {sum(walls["sleeping"]):.2f} s  '
    f'ratio {sum(walls["sleeping"]) / sum(critical):.3f}'
  )


def main(_: list[str]) -> None:
  asyncio.run(measure())


if __name__ == '__main__':
  app.run(main)
