"""The fourth stage: each picture for itself and all at once; what builds on a changed one is made again.

In every place the original competes with the others, and the whole answer competes with the one it was made
from: only what the selector finds better, without doubt, stays. So the selector's score never falls.
"""

import asyncio
import dataclasses
from collections.abc import Mapping

from llmi_jax.core.answer import Answer, Revision
from llmi_jax.core.document import ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.task import Task
from llmi_jax.rewards import rules
from llmi_jax.tts import options, places
from llmi_jax.tts.choose import losses
from llmi_jax.tts.crew import Crew
from llmi_jax.tts.options import REDONE, Option
from llmi_jax.tts.settings import Enhance, Plan
from llmi_jax.tts.stage import Keep
from llmi_jax.tts.tree import Fate, Tree

NAME = 'enhance'


@dataclasses.dataclass(frozen=True)
class Settled:
  """What a place came to.

  Attributes:
    option: that stands there now.
    changed: whether it is another picture than before.
    words: about the choice; empty where there was nothing to choose from.
    broken: whether it could not be made again upon a changed source.
    lost: verdicts that the environment lost.
  """

  option: Option
  changed: bool = False
  words: str = ''
  broken: bool = False
  lost: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Made:
  """What came of one answer.

  Attributes:
    notes: what was said about its places.
    revision: with better pictures; None where none is better.
    before: the fate of the answer.
    after: that of its revision, whose index is not known yet.
  """

  notes: tuple[str, ...]
  revision: Revision | None = None
  before: Fate | None = None
  after: Fate | None = None


async def enhance(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep) -> Tree:
  """Those that go on, each with its pictures bettered where that helps."""
  assert plan.enhance is not None
  settings, found = plan.enhance, dict[int, _Made]()

  async def one(index: int) -> None:
    found[index] = await _bettered(task, tree, index, crew, settings)
    keep(_grown(tree, found))

  await _all(*(one(index) for index in tree.live))
  return _grown(tree, found)


def _grown(tree: Tree, found: Mapping[int, _Made]) -> Tree:
  """In order of rank, whoever ended first."""
  live, fates, notes = [], list[Fate](), list[str]()
  for index in tree.live:
    made = found.get(index, _Made(()))
    notes += [f'Sample {tree.sample(index)}, {words}' for words in made.notes]
    if made.revision is None or made.before is None or made.after is None:
      live.append(index)
      continue
    new = len(tree.revisions)
    tree = tree.grown([made.revision])
    fates += [made.before, dataclasses.replace(made.after, revision=new)]
    live.append(new if made.after.kept else index)
  return tree.decided(live, fates).noted(NAME, *notes)


async def _bettered(task: Task, tree: Tree, index: int, crew: Crew, settings: Enhance) -> _Made:
  """The revision of an answer with what became of both."""
  answer, sample = tree.answer(index), tree.sample(index)
  settled = undone(answer, await _Work(task, answer, sample, crew, settings).settle(), crew)
  notes = tuple(
    f'place {position}: {words}'
    for position, one in settled.items()
    for words in (one.words, *one.lost)
    if words
  )
  better = _assembled(answer, settled, crew)
  if better is None:
    return _Made(notes)
  changed = tuple(sorted(position for position, one in settled.items() if one.changed))
  words = '; '.join(f'place {p}: {settled[p].words}' for p in changed)
  revision = Revision(better, index, NAME, changed, words)
  before, after = (
    rules.image_rule_score(task.image_rule, len(one.pictures), exact=True) for one in (answer, better)
  )
  if after < before:
    why = f'It has {len(better.pictures)} pictures and breaks the image rule that its parent keeps.'
    stays = Fate(index, NAME, True, 'Its revision broke the image rule.')
    return _Made(notes, revision, stays, Fate(0, NAME, False, why))
  ranked = await crew.selector.rank(task, [answer, better])
  wins = ranked.beats(1, 0)
  return _Made(
    (*notes, *losses(ranked)),
    revision,
    Fate(index, NAME, not wins, ranked.words[0], ranked.values[0]),
    Fate(0, NAME, wins, ranked.words[1], ranked.values[1]),
  )


def _assembled(answer: Answer, settled: Mapping[int, Settled], crew: Crew) -> Answer | None:
  """The answer with what changed in its places; None where nothing did, or its tags would read otherwise."""
  changed = {position: one.option for position, one in settled.items() if one.changed}
  if not changed or answer.document is None:
    return None
  calls = places.calls(answer)
  params = {p: option.call.params for p, option in changed.items() if option.call.params != calls[p].params}
  document = places.reworded(answer.document, params, crew.specs)
  if document is None:
    return None
  outcomes = places.outcomes(answer) | {p: option.outcome for p, option in changed.items()}
  return places.rebuilt(answer, document, outcomes)


class _Work:
  """The places of one answer: each is settled when those that it builds on are."""

  def __init__(self, task: Task, answer: Answer, sample: int, crew: Crew, settings: Enhance):
    self._task, self._answer, self._sample = task, answer, sample
    self._crew, self._settings = crew, settings
    self._outcomes = places.outcomes(answer)
    self._calls = {p: call for p, call in places.calls(answer).items() if p in self._outcomes}
    self._places: dict[int, asyncio.Task[Settled]] = {}

  async def settle(self) -> dict[int, Settled]:
    for position, call in self._calls.items():
      self._places[position] = asyncio.ensure_future(self._place(call))
    try:
      await asyncio.gather(*self._places.values())
    finally:
      for work in self._places.values():
        work.cancel()
      await asyncio.gather(*self._places.values(), return_exceptions=True)
    return {position: work.result() for position, work in self._places.items()}

  async def _place(self, call: ToolCall) -> Settled:
    outcome = self._outcomes[call.position]
    first, images = Option(call, outcome, 'the original'), dict[int, Image]()
    moved = broken = False
    for position in places.needs(call, self._crew.specs):
      if position >= call.position or position not in self._places:
        if position < len(self._task.input_images):
          images[position] = self._task.input_images[position]
        continue
      source = await asyncio.shield(self._places[position])
      moved, broken = moved or source.changed, broken or source.broken
      if source.option.outcome.image is not None:
        images[position] = source.option.outcome.image
    if broken:
      return Settled(first, broken=True)
    if moved:
      again = await self._crew.run(call, images, self._sample, REDONE, 1)
      if again.image is None:
        return Settled(first, broken=True, words=f'it could not be made again: {again.error}')
      first = Option(call, again, 'made again upon the changed picture')
    return await self._best(first, images, moved)

  async def _best(self, first: Option, images: Mapping[int, Image], moved: bool) -> Settled:
    """The best option, by one who sees it in its place."""
    further = await options.others(self._task, first, images, self._sample, self._crew, self._settings)
    if not further:
      return Settled(first, moved, first.what if moved else '')
    shown = [first, *further]
    seen = [view for option in shown if (view := self._seen(option)) is not None]
    if len(seen) < len(shown):
      return Settled(first, moved, first.what if moved else '')
    ranked = await self._crew.selector.rank(self._task, seen)
    best = ranked.order[0]
    if not ranked.beats(best, 0):
      best = 0
    words = f'{shown[best].what}, of {len(shown)}: {ranked.words[best]}'
    return Settled(shown[best], moved or best > 0, words, lost=tuple(losses(ranked)))

  def _seen(self, option: Option) -> Answer | None:
    """The answer with an option in its place; None where its tag would read otherwise."""
    answer, position = self._answer, option.call.position
    assert answer.document is not None
    new = option.call.params if option.call.params != self._calls[position].params else None
    document = places.reworded(answer.document, {position: new} if new else {}, self._crew.specs)
    if document is None:
      return None
    return places.rebuilt(answer, document, self._outcomes | {position: option.outcome})


def undone(answer: Answer, settled: Mapping[int, Settled], crew: Crew) -> dict[int, Settled]:
  """The same with every change taken back that something broke upon, and all that hangs together with it."""
  links = {
    p: [q for q in places.needs(one.option.call, crew.specs) if q in settled] for p, one in settled.items()
  }
  gone = {position for position, one in settled.items() if one.broken}
  grew = True
  while grew:
    grew = False
    for position, sources in links.items():
      tied = {position, *sources}
      if tied & gone and not tied <= gone:
        gone |= tied
        grew = True
  originals, calls = places.outcomes(answer), places.calls(answer)
  return {
    p: Settled(Option(calls[p], originals[p], 'the original'), words=one.words) if p in gone else one
    for p, one in settled.items()
  }


async def _all(*work) -> None:
  """Waits for all; the first failure stops the others."""
  tasks = [asyncio.ensure_future(one) for one in work]
  try:
    await asyncio.gather(*tasks)
  finally:
    for task in tasks:
      task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
