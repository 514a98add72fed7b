"""The stages in order, within limits; at a limit, or when asked to stop, the best so far is the answer.

generate = scaled(open_crew, Plan(samples=8, keep=2))
answers = await generate(task, 1, seed)
"""

import asyncio
import dataclasses
import functools
import hashlib
from collections.abc import Callable

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import Interrupted
from llmi_jax.core.task import Task
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts import choose, enhance, polish, sample, sift
from llmi_jax.tts.crew import Crew, Generate, Heard
from llmi_jax.tts.ledger import Account
from llmi_jax.tts.settings import Plan
from llmi_jax.tts.stage import Stage
from llmi_jax.tts.tree import Fate, Tree

STOPPED = 'It was asked to stop.'


@dataclasses.dataclass(frozen=True)
class Result:
  """What scaling came to.

  Attributes:
    tree: everything that was made.
    chosen: index of the revision that is the answer.
    account: what it took.
    selector: who chose.
  """

  tree: Tree
  chosen: int
  account: Account
  selector: str

  @property
  def answer(self) -> Answer:
    """The chosen one, with what all of it took."""
    total = self.account.total
    usage = (
      ('prompt_tokens', float(total.prompt_tokens)),
      ('completion_tokens', float(total.completion_tokens)),
      ('seconds', self.account.seconds),
      ('seconds_sum', total.seconds),
      ('calls', float(total.calls)),
      ('flops', total.flops),
      ('price', total.price),
    )
    return dataclasses.replace(self.tree.answer(self.chosen), usage=usage)


def stages(plan: Plan, crew: Crew, seed: int) -> list[tuple[str, Stage]]:
  """Those that are wanted and can be done, in order."""
  found: list[tuple[str, Stage]] = [(sample.NAME, functools.partial(sample.sample, seed=seed))]
  if plan.sift is not None:
    found.append((sift.NAME, sift.sift))
  found.append((choose.SELECT, choose.select if plan.select else choose.first))
  if plan.enhance is not None:
    found.append((enhance.NAME, enhance.enhance))
  if plan.polish is not None and crew.polisher is not None:
    found.append((polish.NAME, polish.polish))
  if plan.final:
    found.append((choose.FINAL, choose.final))
  return found


async def run(task: Task, crew: Crew, plan: Plan, seed: int, stop: asyncio.Event | None = None) -> Result:
  """Answers one task.

  Args:
    task: what is asked.
    crew: works on it; its ledger is this task's own.
    plan: what is done.
    seed: equal ones, and equal replies, give equal answers.
    stop: set to end soon, with the best so far.

  Raises:
    Interrupted: it was stopped before a first answer was written.
    ServiceFault: nobody could write an answer; `budget` where there was no time for one.
    DataError: the task cannot be read.
  """
  tree, stop = Tree(), stop or asyncio.Event()
  for name, stage in stages(plan, crew, seed):
    with crew.ledger.at(name):
      why = STOPPED if stop.is_set() else crew.ledger.refusal
      if why and tree.live:
        crew.ledger.stop(why)
        tree = tree.noted(name, f'It was left out. {why}')
        continue
      tree = await _bounded(task, tree, crew, plan, stage, name, stop)
    if not tree.live:
      if stop.is_set():
        raise Interrupted('Stopped before a first answer was written.')
      raise ServiceFault('budget', 'It ended before a first answer was written; raise budget.seconds.')
  chosen = tree.live[0]
  tree = tree.decided(tree.live, [Fate(chosen, 'answer', True, 'It is the answer.')])
  return Result(tree, chosen, crew.ledger.account(), crew.selector.name)


async def _bounded(
  task: Task, tree: Tree, crew: Crew, plan: Plan, stage: Stage, name: str, stop: asyncio.Event
) -> Tree:
  """The stage's tree, or the last that it told of before time was up."""
  best = [tree]
  work = asyncio.ensure_future(stage(task, tree, crew, plan, lambda one: best.__setitem__(0, one)))
  stopped = asyncio.ensure_future(stop.wait())
  left = crew.ledger.left
  try:
    await asyncio.wait(
      (work, stopped),
      timeout=None if left == float('inf') else max(0.0, left),
      return_when=asyncio.FIRST_COMPLETED,
    )
    if work.done():
      return work.result()
  finally:
    ended = work.done()
    for one in (work, stopped):
      one.cancel()
    await asyncio.gather(work, stopped, return_exceptions=True)
  assert not ended
  why = STOPPED if stop.is_set() else 'The budget of seconds is spent.'
  crew.ledger.stop(why)
  return best[0].noted(name, f'It was cut short. {why}')


def scaled(
  open_crew: Callable[[Task, int], Crew],
  plan: Plan,
  told: Callable[[Task, int, Result], None] | None = None,
  stop: asyncio.Event | None = None,
) -> Generate:
  """A `generate` whose every answer is the best that `plan` finds.

  Args:
    open_crew: task and seed → who works on it, with a ledger of its own.
    plan: what is done.
    told: gets task, number of the answer, and what it came to.
    stop: set to end soon.
  """

  async def one(task: Task, number: int, seed: int, heard: Heard | None) -> Answer:
    own = seed_of(seed, number)
    result = await run(task, open_crew(task, own), plan, own, stop)
    if told:
      await asyncio.to_thread(told, task, number, result)
    if heard:
      heard(number, result.answer)
    return result.answer

  async def generate(task: Task, n: int, seed: int, heard: Heard | None = None, /) -> list[Answer]:
    return list(await asyncio.gather(*(one(task, number, seed, heard) for number in range(n))))

  return generate


def seed_of(seed: int, number: int) -> int:
  """The seed of one of several answers, in [0, 2³¹); the first keeps the seed given."""
  if not number:
    return seed
  digest = hashlib.sha256(f'{seed}/scaled/{number}'.encode()).digest()
  return int.from_bytes(digest[:4], 'big') >> 1
