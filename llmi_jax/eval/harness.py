"""The run of a benchmark: records → answers → judges → items, each kept before the next, then tables and
pages.

    outcome = await run(benchmark, answers, caller, store, Plan(at_once=16))

Records are read one at a time and forgotten once they are judged. A kill costs what was under way; the same
command goes on, and neither a judge nor a policy is asked twice.
"""

import asyncio
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

from llmi_jax.core.errors import Interrupted, told
from llmi_jax.eval import page, streams, table
from llmi_jax.eval.calls import Caller
from llmi_jax.eval.record import Answered, Benchmark, Fault, Judged, Record
from llmi_jax.eval.store import Store
from llmi_jax.eval.table import Table

Answers = Callable[[Record], Awaitable[Answered]]
MARKDOWN, CSV = 'table.md', 'table.csv'


@dataclasses.dataclass(frozen=True)
class Plan:
  """How it is run.

  Attributes:
    at_once: items under way together.
    limit: records that are looked at; 0 for all.
  """

  at_once: int = 16
  limit: int = 0


@dataclasses.dataclass
class Outcome:
  """What a run came to.

  Attributes:
    records: that were read.
    faults: of files, in the order found.
    ids: of the records.
  """

  records: int = 0
  faults: list[Fault] = dataclasses.field(default_factory=list)
  ids: set[str] = dataclasses.field(default_factory=set)


class _Feed:
  """Hands records out to workers, one at a time."""

  def __init__(self, benchmark: Benchmark, plan: Plan, outcome: Outcome):
    self._records = enumerate(benchmark.records())
    self._plan, self._outcome = plan, outcome
    self._turn = asyncio.Lock()

  async def next(self) -> tuple[int, Record] | None:
    async with self._turn:
      while not self._plan.limit or self._outcome.records < self._plan.limit:
        found = await asyncio.to_thread(next, self._records, None)
        if found is None:
          return None
        number, record = found
        if isinstance(record, Fault):
          self._outcome.faults.append(record)
          continue
        self._outcome.records += 1
        self._outcome.ids.add(record.id)
        return number, record
      return None


async def run(
  benchmark: Benchmark,
  answers: Answers,
  caller: Caller,
  store: Store,
  plan: Plan,
  stop: asyncio.Event | None = None,
) -> Outcome:
  """Judges every record that is not judged yet.

  Args:
    benchmark: in its mode.
    answers: finds or makes the answer to a record.
    caller: asks judges.
    store: keeps everything.
    plan: sizes.
    stop: set to end after what is under way.

  Raises:
    Interrupted: `stop` was set.
    StorageError: something cannot be kept.
  """
  outcome = Outcome()
  feed = _Feed(benchmark, plan, outcome)
  stop = stop or asyncio.Event()

  async def work() -> None:
    while not stop.is_set() and (found := await feed.next()) is not None:
      number, record = found
      if not await asyncio.to_thread(store.done, record.id):
        await _item(benchmark, answers, caller, store, number, record)

  try:
    async with asyncio.TaskGroup() as group:
      for _ in range(plan.at_once):
        group.create_task(work())
  except BaseExceptionGroup as errors:
    raise told(errors) from errors
  if stop.is_set():
    raise Interrupted(f'Stopped after {store.counts()["items"]} items; the same command goes on.')
  for item in store.items():
    outcome.faults += item.faults
  return outcome


async def _item(
  benchmark: Benchmark, answers: Answers, caller: Caller, store: Store, number: int, record: Record
) -> None:
  answered = await answers(record)
  if answered.lost:
    judged = Judged(record.id, record.group, (), lost=answered.lost, answered=False)
  else:
    said = await caller.ask_all(await asyncio.to_thread(benchmark.plan, record, answered))
    judged = await benchmark.score(record, answered, said)
  judged = dataclasses.replace(judged, faults=(*record.faults, *answered.faults, *judged.faults))
  await asyncio.to_thread(_keep, store, number, record, answered, judged)


def _keep(store: Store, number: int, record: Record, answered: Answered, judged: Judged) -> None:
  store.keep_thumbnails(page.pictures(record, answered))
  store.keep_item(number, judged, page.shown(record, answered))


def judged(store: Store) -> Iterator[Judged]:
  """Items that something can be said about."""
  return (item for item in store.items() if not item.lost)


def tables(
  benchmark: Benchmark, store: Store, outcome: Outcome, facts: Sequence[tuple[str, str]]
) -> list[Table]:
  """The benchmark's tables with facts about the run."""
  counted = [*facts, *_counts(store, outcome)]
  return [
    dataclasses.replace(one, title=f'{one.title} ({benchmark.mode})', facts=tuple(counted))
    for one in benchmark.tables(judged(store))
  ]


def _counts(store: Store, outcome: Outcome) -> list[tuple[str, str]]:
  answered = unanswered = lost = asked = failed = 0
  hashes: dict[str, None] = {}
  models: dict[str, None] = {}
  for item in store.items():
    lost += bool(item.lost)
    answered += item.answered
    unanswered += not item.answered and not item.lost
    for said in item.said:
      asked += not said.spared
      failed += bool(said.missing)
      hashes |= {said.prompt_hash: None} if said.prompt_hash else {}
      models |= {said.model: None} if said.model else {}
  return [
    ('records', f'{outcome.records}'),
    ('records left out as faulty, and other faults of files', f'{len(outcome.faults)}'),
    ('answered', f'{answered}'),
    ('without an answer', f'{unanswered}'),
    ('lost to the environment', f'{lost}'),
    ('questions to the judge', f'{asked}'),
    ('of these without a reply that can be read', f'{failed}'),
    ('judge, as it names itself', ', '.join(models) or 'none asked'),
    ('hashes of the judge’s prompts', ', '.join(sorted(hashes)) or 'none'),
    ('intervals', '95 %, percentile bootstrap over items, 2000 draws'),
  ]


def write(
  folder: pathlib.Path, benchmark: Benchmark, store: Store, found: Sequence[Table], title: str
) -> pathlib.Path:
  """Tables, pages and the benchmark's own files; returns the first page.

  Raises:
    StorageError: a file cannot be written.
  """
  benchmark.finish(folder, judged(store))
  streams.text(folder / MARKDOWN, [table.markdown(found)])
  streams.text(folder / CSV, [table.comma_separated(found)])
  return page.build(folder, store, found, title, benchmark.apart)
