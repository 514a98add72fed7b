"""Evaluations over a real socket."""

import asyncio
import pathlib

from llmi_jax.eval import harness
from llmi_jax.eval.calls import Caller
from llmi_jax.eval.foreign import Rows
from llmi_jax.eval.harness import Plan
from llmi_jax.eval.isg.bench import Isg
from llmi_jax.eval.llmi_bench.bench import LlmiBench
from llmi_jax.eval.opening.arena import Arena
from llmi_jax.eval.opening.battles import System
from llmi_jax.eval.opening.outputs import Folder
from llmi_jax.eval.opening.score import Score
from llmi_jax.eval.record import Answered
from llmi_jax.eval.store import Store
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from tests.doubles.chat import ChatServer

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / 'llmi_jax' / 'eval' / 'examples'
NAMES = ('opening', 'arena', 'isg', 'llmi_bench', 'in_domain')


def reading(read):
  async def answer(record):
    found = read(record)
    return found if isinstance(found, Answered) else Answered((found,))

  return answer


def made(name, mode, *, official=None, system='Careful', folder=EXAMPLES):
  """A benchmark over the examples, and what finds answers to it."""
  outputs = folder / 'opening' / 'gen_outputs'
  if name == 'opening':
    return Score(folder / 'opening', mode, system, official=official), reading(
      Folder(outputs / f'{system}_output', mode).read
    )
  if name == 'arena':
    systems = ('Careful', 'Hasty')
    folders = {System(str(i), s): Folder(outputs / f'{s}_output', mode) for i, s in enumerate(systems)}
    arena = Arena(folder / 'opening', folders, mode, rounds=1, official=official)
    return arena, arena.answered
  if name == 'isg':
    return Isg(folder / 'isg', mode, official=official), reading(
      Rows(folder / 'isg' / f'{system.lower()}.jsonl', mode, folder / 'isg').read
    )
  if name == 'llmi_bench':
    path = folder / 'llmi_bench' / 'records.json'
    rows = Rows(folder / 'llmi_bench' / 'careful.jsonl', mode)
    return LlmiBench(path, mode, official=official), reading(rows.read)
  raise ValueError(name)


def judged(benchmark, answers, workdir, script, retry=Retry(1)):
  """Judges over a real socket; returns items, tables, outcome and the server's requests."""

  async def main():
    store = Store(workdir)
    try:
      async with ChatServer(script) as server:
        settings = ChatSettings((server.url,), limit=Limit(8, 20.0), retry=retry, name='The judge')
        async with ChatClient(settings) as chat:
          caller = Caller(chat.complete, chat.model, 784_000, store)
          outcome = await harness.run(benchmark, answers, caller, store, Plan(4))
        found = harness.tables(benchmark, store, outcome, [('benchmark', benchmark.name)])
        harness.write(workdir, benchmark, store, found, benchmark.name)
        return list(store.items()), found, outcome, list(server.requests)
    finally:
      store.close()

  return asyncio.run(main())
