"""Synthetic OpenING records with an instant judge: records a second, peak memory at 216 and at 2,160.

    python benchmarks/evaluate.py

Records have the shape of the test split: 54 % with a picture, 2.5 gold steps, answers of two steps with a
picture each. The judge is a process of its own that answers at once over a real socket. A run reads, judges,
keeps, aggregates and writes all pages; each is a process of its own, and the kernel says its peak memory and
its processor time, which tells more than wall time where other work runs.
"""

import asyncio
import json
import multiprocessing
import pathlib
import resource
import tempfile
import time

import numpy as np
from absl import app, flags
from PIL import Image

from llmi_jax.eval import harness
from llmi_jax.eval.calls import Caller
from llmi_jax.eval.harness import Plan
from llmi_jax.eval.opening.outputs import Folder
from llmi_jax.eval.opening.score import Score
from llmi_jax.eval.store import Store
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.limits import Limit
from tests.doubles.chat import ChatServer
from tests.doubles.grader import Grader

COUNTS = flags.DEFINE_multi_integer('records', [216, 2160], 'Records of each run.')
SIDE = flags.DEFINE_integer('side', 320, 'Pixels a side of pictures.')
MODE = flags.DEFINE_enum('mode', 'fixed', ['fixed', 'repo'], 'Of the benchmark.')
AT_ONCE = 16


def serve(address):
  """The judge, in a process of its own."""

  async def main():
    async with ChatServer(Grader()) as server:
      address.put(server.url)
      while True:
        await asyncio.sleep(1)
        server.requests.clear()
        server.headers.clear()

  asyncio.run(main())


def write(folder, count, side):
  """Records and answers; every picture is another."""
  output = folder / 'X_output'
  output.mkdir(parents=True)
  with open(folder / 'test_data.jsonl', 'w') as file:
    for number in range(count):
      draws = np.random.default_rng(number)
      meta, sub, data = 1 + number % 23, 1 + number // 999, 1 + number % 999
      uid = f'{meta:02d}{sub:02d}{data:03d}'
      image = f'./images/task/{uid}-i-1.jpg' if draws.random() < 0.54 else None
      if image:
        picture(folder / image, draws, side)
      steps = [{'text': 'Gold.', 'image': f'./images/task/{uid}-o-1.jpg'}] * int(draws.integers(1, 5))
      row = {
        **{'total_uid': uid, 'meta_task_id': str(meta), 'meta_task_name': 'Topic'},
        **{'subtask_id': str(sub), 'subtask_name': 'task', 'data_id': str(data)},
        'conversations': [
          {'input': [{'image': image, 'text': f'<BEGIN> Record {number}. ' + 'word ' * 60}]},
          {'output': steps},
        ],
      }
      file.write(json.dumps(row) + '\n')
      answer = []
      for step in range(2):
        picture(output / f'{uid}-o-{step}.jpg', draws, side)
        answer.append({'text': f'Step {step} of {number}. ' + 'word ' * 80, 'image': f'{uid}-o-{step}.jpg'})
      row['conversations'][1] = {'output': answer}
      (output / f'{uid}.json').write_text(json.dumps(row))


def picture(path, draws, side):
  path.parent.mkdir(parents=True, exist_ok=True)
  small = draws.integers(0, 256, (12, 12, 3), dtype=np.uint8)
  Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path, 'JPEG')


def evaluate(folder, url, mode, result):
  """One run, in a process of its own."""

  async def main():
    benchmark = Score(folder, mode, 'X')
    answers = Folder(folder / 'X_output', mode)
    store = Store(folder / 'work')
    base = _peak()

    async def read(record):
      return await asyncio.to_thread(answers.read, record)

    async with ChatClient(ChatSettings((url,), limit=Limit(AT_ONCE, 60.0))) as chat:
      caller = Caller(chat.complete, chat.model, 784_000, store)
      started = time.perf_counter()
      outcome = await harness.run(benchmark, read, caller, store, Plan(AT_ONCE))
      judged = time.perf_counter() - started
    assert not outcome.faults and outcome.records == store.counts()['items'], outcome.faults[:3]
    found = harness.tables(benchmark, store, outcome, [])
    harness.write(folder / 'work', benchmark, store, found, 'benchmark')
    assert found[0].at('all', 'Overall').n == outcome.records
    whole = time.perf_counter() - started
    result.put((outcome.records, judged, whole, time.process_time(), base, _peak()))
    store.close()

  asyncio.run(main())


def _peak():
  """MiB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(_):
  context = multiprocessing.get_context('spawn')
  address, result = context.Queue(), context.Queue()
  judge = context.Process(target=serve, args=(address,), daemon=True)
  judge.start()
  url = address.get(timeout=60)
  peaks = []
  for count in COUNTS.value:
    with tempfile.TemporaryDirectory() as scratch:
      folder = pathlib.Path(scratch) / 'x'
      write(folder, count, SIDE.value)
      run = context.Process(target=evaluate, args=(folder, url, MODE.value, result))
      run.start()
      records, judged, whole, spent, base, peak = result.get(timeout=3600)
      run.join()
      peaks.append(peak)
      print(
        f'{records:>6,} records: {records / judged:.1f} a second judged, {records / whole:.1f} with pages '
        f'and tables, {1000 * spent / records:.0f} ms of one processor each; peak {peak:.0f} MiB '
        f'({base:.0f} before the first)'
      )
  judge.kill()
  if len(peaks) > 1:
    print(f'Peak memory, last to first: {peaks[-1] / peaks[0]:.3f}')


if __name__ == '__main__':
  app.run(main)
