"""A judge that is asked once: verdicts come from the run's journal, then the cache, then the judge."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Verdict
from llmi_jax.judges.remote import Question, RemoteJudge
from llmi_jax.services.cache import Cache
from llmi_jax.services.journal import Entry, Journal
from llmi_jax.services.sharing import Flights


@dataclasses.dataclass(frozen=True)
class Address:
  """Where in a run an answer stands; fields as in `services.journal.Entry`."""

  step: int
  task: str
  sample: int


class Recorded:
  """Remembers for a judge. Equal questions in flight are asked once.

  Attributes:
    judge: the one that is asked.
  """

  def __init__(
    self,
    judge: RemoteJudge,
    *,
    cache: Cache | None = None,
    journal: Journal | None = None,
    beside: Callable[[], Awaitable[None]] | None = None,
  ):
    """Makes one.

    Args:
      judge: who is asked.
      cache: keeps scores by content, for all runs.
      journal: keeps every verdict, missing ones too, by place.
      beside: run beside each call of the judge, such as `Canaries.beside`.
    """
    self.judge = judge
    self._cache, self._journal, self._beside = cache, journal, beside
    self._flights: Flights[Verdict] = Flights()

  async def verdict(
    self, task: Task, answer: Answer, at: Address | None, *, vote: int = 0, seed: int = 0
  ) -> Verdict:
    """The verdict on the answer at a place of the run, or at none, which the journal does not know.

    Raises:
      StorageError: cache or journal cannot be written.
      DataError: the journal cannot be read.
    """
    spared = self.judge.spared(task, answer, vote)
    if spared is not None:
      return spared
    journal = self._journal if at is not None else None
    entry = Entry('judge', at.step, at.task, at.sample, self.judge.name, vote) if at else None
    kept = journal.get(entry, Verdict) if journal and entry else None
    if kept is not None:
      return kept
    question = self.judge.prepare(task, answer, vote, seed)
    made = await self._flights.share(question.key, lambda: self._asked(question))
    if journal and entry:
      await journal.put(entry, made)
    return made

  async def _asked(self, question: Question) -> Verdict:
    kept = self._cache.get(question.key, Verdict) if self._cache is not None else None
    if kept is not None:
      return kept
    work = self.judge.ask(question)
    made = (await asyncio.gather(work, self._beside()))[0] if self._beside else await work
    if self._cache is not None and made.status == 'scored':
      await asyncio.to_thread(self._cache.put, question.key, made)
    return made
