"""Two judges over 256 documents at one second of latency and 64 calls at once, against the ideal time.

    python benchmarks/judges.py

The server is a process of its own that speaks the chat protocol and answers each call a second after it
came. Ideal is documents × judges × latency / concurrency; the overhead is what is left, per call. Prints a
row for RESULTS.md.
"""

import asyncio
import logging
import multiprocessing
import re
import time

import numpy as np
from absl import app, flags

from llmi_jax.core.answer import Answer, Picture, Prose
from llmi_jax.core.document import ToolCall
from llmi_jax.core.task import ImageRule, Message, Task, TextPart
from llmi_jax.judges.recorded import Recorded
from llmi_jax.judges.remote import LLM, MLLM, RemoteJudge
from llmi_jax.services import images
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.limits import Limit
from tests.doubles.chat import Act, ChatServer, texts

DOCUMENTS = flags.DEFINE_integer('documents', 256, 'Documents to judge.')
LATENCY = flags.DEFINE_float('latency', 1.0, 'Seconds per call at the server.')
CONCURRENCY = flags.DEFINE_integer('concurrency', 64, 'Calls at once, over both judges.')
SIDE = flags.DEFINE_integer('side', 384, 'Pixels a side of each document’s picture.')
QUESTION = 'Tell me about the thing with this number, and show it.'


def serve(latency: float, address) -> None:
  """Runs in a process of its own."""

  def script(body, _):
    text = texts(body)
    code = re.search(r'BEGIN ANSWER (\w+)', text)[1]
    names = re.findall(r'^(\w+): one of', text, re.M)
    return Act(text=f'VERDICT {code}\n' + '\n'.join(f'{name}: 4' for name in names), seconds=latency)

  async def main():
    async with ChatServer(script) as server:
      address.put(server.url)
      await asyncio.sleep(3600)

  asyncio.run(main())


def document(number: int) -> tuple[Task, Answer]:
  """About 2,000 characters and one picture, none like another."""
  asked = Message('user', (TextPart(QUESTION),))
  task = Task(f'task{number}', (asked,), QUESTION, ImageRule('exactly', 1), ('search',))
  shape = (SIDE.value, SIDE.value, 3)
  noise = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
  raw = '<imgen>{"source": "search", "description": "it", "params": {"query": "it"}}</imgen>'
  words = ' '.join(f'word{number}x{n}' for n in range(200))
  call = ToolCall(raw, 0, 0, 'search', 'it', {'query': 'it'})
  return task, Answer(task.id, (Prose(words), Picture(images.from_array(noise), 0, call)))


async def measure(url: str) -> tuple[float, int]:
  """(seconds, verdicts that are scores)."""
  made = [document(number) for number in range(DOCUMENTS.value)]
  # One client: both judges share its places, as they do at one server.
  async with ChatClient(ChatSettings((url,), limit=Limit(CONCURRENCY.value, 60.0))) as chat:
    judges = [Recorded(RemoteJudge(settings, chat.complete, chat.model)) for settings in (LLM, MLLM)]
    began = time.perf_counter()
    work = (judge.verdict(task, answer, None) for task, answer in made for judge in judges)
    verdicts = await asyncio.gather(*work)
    return time.perf_counter() - began, sum(verdict.status == 'scored' for verdict in verdicts)


def main(_):
  logging.disable(logging.INFO)
  address = multiprocessing.get_context('spawn').Queue()
  server = multiprocessing.get_context('spawn').Process(
    target=serve, args=(LATENCY.value, address), daemon=True
  )
  server.start()
  try:
    seconds, scored = asyncio.run(measure(address.get(timeout=60)))
  finally:
    server.terminate()
  calls = 2 * DOCUMENTS.value
  ideal = calls * LATENCY.value / CONCURRENCY.value
  overhead = 1000 * (seconds - ideal) / calls
  print(
    f'{DOCUMENTS.value} documents × 2 judges, {LATENCY.value:g} s, {CONCURRENCY.value} at once: '
    f'{seconds:.2f} s, ideal {ideal:.2f} s, ratio {seconds / ideal:.3f}, '
    f'{overhead:.1f} ms per call beyond it, {scored} scored.'
  )


if __name__ == '__main__':
  app.run(main)
