"""The second stage: what the environment lost is tried again, and who does not keep the rules goes.

Levels relax one by one where nobody is left. What the environment lost is held against nobody: such a call
counts as one that was not made, its place as one that may still hold a picture.
"""

import asyncio
from collections.abc import Callable, Mapping

from llmi_jax.core.answer import Answer, Revision
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.rewards import rules
from llmi_jax.tts import places
from llmi_jax.tts.crew import Crew
from llmi_jax.tts.settings import Level, Plan, Sift
from llmi_jax.tts.stage import Keep
from llmi_jax.tts.tree import Fate, Tree

NAME = 'filter'
RETRY = 1000  # variants of calls that are tried again begin here


async def sift(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep) -> Tree:
  """The tree without those that fail a level."""
  assert plan.sift is not None
  for attempt in range(plan.sift.retries):
    tree = await _retried(task, tree, crew, attempt)
    keep(tree)
  checks = _checks(plan.sift, task, _mendable(plan, crew))
  levels, relaxed = list(plan.sift.levels), []
  while True:
    faults = {index: _fault(checks, levels, tree.answer(index)) for index in tree.live}
    left = [index for index in tree.live if not faults[index]]
    if left or not levels:
      break
    relaxed.append(levels.pop())
  fates = [Fate(index, NAME, index in left, faults[index] or 'It keeps the rules.') for index in tree.live]
  notes = [f'Nobody was left, so the level {level} was dropped.' for level in relaxed]
  return tree.decided(left, fates).noted(NAME, *notes)


def _mendable(plan: Plan, crew: Crew) -> frozenset[str]:
  """Names of tools whose failed calls the enhancing stage may still mend."""
  if plan.enhance is None or crew.repairer is None or not plan.enhance.repairs:
    return frozenset()
  return frozenset(tool for tool, way in plan.enhance.ways.items() if way == 'repair')


def _fault(checks: Mapping[Level, Callable[[Answer], str]], levels: list[Level], answer: Answer) -> str:
  """The first level that an answer fails, in words; empty where it fails none."""
  return next((why for level in levels if (why := checks[level](answer))), '')


def _checks(sift: Sift, task: Task, mendable: frozenset[str]) -> Mapping[Level, Callable[[Answer], str]]:
  """Level → what is wrong with an answer, in words."""

  def attempted(answer: Answer) -> list[ToolOutcome]:
    return [outcome for outcome in answer.outcomes if outcome.fault != 'environment']

  def well_formed(answer: Answer) -> str:
    good, tags = rules.tag_counts(answer)
    return f'{tags - good} of its {tags} tags are malformed.' if good < tags else ''

  def all_ok(answer: Answer) -> str:
    failed = [outcome.tool for outcome in attempted(answer) if outcome.status != 'ok']
    return f'A call of {failed[0]} failed.' if failed else ''

  def success(answer: Answer) -> str:
    tried = attempted(answer)
    good = sum(outcome.status == 'ok' for outcome in tried)
    few = bool(tried) and good < sift.success * len(tried)
    return f'{good} of {len(tried)} calls gave a picture; {sift.success:g} of them must.' if few else ''

  def image_rule(answer: Answer) -> str:
    made = len(answer.pictures)
    open_ = sum(
      outcome.fault == 'environment' or (outcome.status != 'ok' and outcome.tool in mendable)
      for outcome in answer.outcomes
    )
    fits = any(
      rules.image_rule_score(task.image_rule, count, exact=True) == 1.0
      for count in range(made, made + open_ + 1)
    )
    wanted = task.image_rule.kind.replace('_', ' ') + (
      f' {task.image_rule.count}' if task.image_rule.count else ''
    )
    return '' if fits else f'It has {made} pictures; the rule is {wanted}.'

  return {'well_formed': well_formed, 'all_ok': all_ok, 'success': success, 'image_rule': image_rule}


async def _retried(task: Task, tree: Tree, crew: Crew, attempt: int) -> Tree:
  """The same with calls that the environment lost made once more."""
  hurt = [i for i in tree.live if any(o.fault == 'environment' for o in tree.answer(i).outcomes)]
  found = await asyncio.gather(
    *(_again(task, tree.answer(index), tree.sample(index), crew, RETRY + attempt) for index in hurt)
  )
  new: dict[int, int] = {}
  for index, (answer, mended, lost) in zip(hurt, found):
    if lost:
      words = f'Sample {tree.sample(index)} lost calls to the environment: {"; ".join(lost)}'
      tree = tree.noted(NAME, words)
    if mended:
      new[index] = len(tree.revisions)
      why = 'Calls that the environment had lost were made again.'
      tree = tree.grown([Revision(answer, index, NAME, mended, why)])
      tree = tree.decided(tree.live, [Fate(index, NAME, False, 'Its lost calls were made again.')])
  return tree.decided([new.get(index, index) for index in tree.live])


async def _again(
  task: Task, answer: Answer, sample: int, crew: Crew, variant: int
) -> tuple[Answer, tuple[int, ...], list[str]]:
  """The answer, the positions that have a picture now, and what is still lost; in order of position, since
  edits wait for pictures.
  """
  assert answer.document is not None
  found = places.outcomes(answer)
  mended = []
  for position, call in places.calls(answer).items():
    if position not in found or found[position].fault != 'environment':
      continue
    images, needed = places.pictures(task, found), places.needs(call, crew.specs)
    if all(name in images for name in needed):
      again = await crew.run(call, {name: images[name] for name in needed}, sample, variant, 1)
      found[position] = again
      if again.image is not None:
        mended.append(position)
  lost = [outcome.error for outcome in found.values() if outcome.fault == 'environment']
  if not mended:
    return answer, (), lost
  return places.rebuilt(answer, answer.document, found), tuple(mended), lost
