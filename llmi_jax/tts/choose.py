"""The third stage and the last one: a model prefers, and who is preferred goes on."""

import asyncio

from llmi_jax.core.task import Task
from llmi_jax.tts.crew import Crew
from llmi_jax.tts.selectors import Ranking
from llmi_jax.tts.settings import Plan
from llmi_jax.tts.stage import Keep
from llmi_jax.tts.tree import Fate, Tree

SELECT, FINAL = 'select', 'final'


async def select(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep) -> Tree:
  """The best `plan.keep` of those that are left."""
  return await _best(task, tree, crew, SELECT, plan.keep, keep)


async def first(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep) -> Tree:
  """The first `plan.keep`; nobody is asked."""
  fates = [Fate(i, SELECT, n < plan.keep, 'Nobody chose.') for n, i in enumerate(tree.live)]
  return tree.decided(tree.live[: plan.keep], fates)


async def final(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep) -> Tree:
  """The best of all that are left, polished and unpolished."""
  return await _best(task, tree, crew, FINAL, 1, keep)


async def _best(task: Task, tree: Tree, crew: Crew, stage: str, most: int, keep: Keep) -> Tree:
  if len(tree.live) <= 1:
    return tree
  try:
    found = await crew.selector.rank(task, tree.answers)
  except asyncio.CancelledError:
    keep(_chosen(tree, crew.selector.so_far(task, tree.answers), stage, most))
    raise
  return _chosen(tree, found, stage, most)


def _chosen(tree: Tree, found: Ranking, stage: str, most: int) -> Tree:
  order = [tree.live[place] for place in found.order]
  return tree.decided(order[:most], fates(tree.live, found, stage, most)).noted(stage, *losses(found))


def fates(live: tuple[int, ...], found: Ranking, stage: str, most: int) -> list[Fate]:
  """What a ranking makes of those that were ranked, in its order."""
  return [
    Fate(
      live[place],
      stage,
      rank < most,
      f'Rank {rank + 1} of {len(live)}: {found.words[place]}',
      found.values[place],
    )
    for rank, place in enumerate(found.order)
  ]


def losses(found: Ranking) -> list[str]:
  """What the environment kept the selector from saying."""
  return [f'{found.lost} verdicts of the selector were lost.'] if found.lost else []
