"""The first stage: complete answers, as many as are wanted, with all their tools at once."""

import asyncio
import dataclasses

from llmi_jax.core.answer import Answer, Revision
from llmi_jax.core.task import Task
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts.crew import Crew
from llmi_jax.tts.settings import Plan
from llmi_jax.tts.stage import Keep
from llmi_jax.tts.tree import Tree

NAME = 'sample'


async def sample(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep, seed: int) -> Tree:
  """A tree of `plan.samples` answers of one group.

  Once the budget is spent, those that have ended go on.

  Raises:
    ServiceFault: no answer could be written.
    DataError: the task cannot be read.
  """
  heard: dict[int, Answer] = {}
  spent = asyncio.Event()

  def hear(number: int, answer: Answer) -> None:
    heard[number] = answer
    crew.ledger.charge_answer(answer)
    keep(_grown(tree, heard))
    if len(heard) < plan.samples and crew.ledger.admit():
      spent.set()

  writing = asyncio.ensure_future(crew.generate(task, plan.samples, seed, hear))
  waiting = asyncio.ensure_future(spent.wait())
  try:
    await asyncio.wait((writing, waiting), return_when=asyncio.FIRST_COMPLETED)
    lost = ''
    if writing.done():
      try:
        whole = writing.result()
      except ServiceFault as fault:
        if not heard:
          raise
        lost = f'{fault.cause}: {fault}'
      else:
        for number, answer in enumerate(whole):  # of those who tell nobody before the end
          if number not in heard:
            hear(number, answer)
  finally:
    for work in (writing, waiting):
      work.cancel()
    await asyncio.gather(writing, waiting, return_exceptions=True)
  grown = _grown(tree, heard)
  if len(heard) < plan.samples:
    grown = grown.noted(NAME, f'{len(heard)} of {plan.samples} answers were written. {lost}'.strip())
  return grown


def _grown(tree: Tree, heard: dict[int, Answer]) -> Tree:
  made = [Revision(heard[k], None, NAME, why=f'Sample {k}.') for k in sorted(heard)]
  return dataclasses.replace(tree.grown(made), samples=tuple(sorted(heard))).decided(range(len(made)))
