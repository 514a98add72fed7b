"""What rollout files and reports cost a run, and how fast report and viewer answer whoever looks.

    python -m benchmarks.report --run=runs/grpo_tiny

RUN is the work folder of a finished run of at least 5,000 rollouts. Prints rows for RESULTS.md: writing a
step's rollouts as a share of the median step, the report as a share of the run, first paint of a report of
25 MiB in headless Chromium, and a filter over 5,000 rollouts in the server and in the browser.
"""

import dataclasses
import json
import pathlib
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import uvicorn
from absl import app, flags
from playwright.sync_api import Browser, sync_playwright

from llmi_jax import metrics
from llmi_jax.core.image import Image
from llmi_jax.data import rollouts
from llmi_jax.data.rollout import PictureRef, Piece, Rollout
from llmi_jax.report import page
from llmi_jax.report.pictures import from_folder
from llmi_jax.services import images, ports
from llmi_jax.view import pages, query
from llmi_jax.view.app import application
from llmi_jax.view.index import Index, runs

RUN = flags.DEFINE_string('run', None, 'Work folder of a finished run.', required=True)
ROUNDS = flags.DEFINE_integer('rounds', 9, 'Times that each thing is timed; the median is told.')
ROWS = 5_000
FILTERS = (
  'q=horse',
  'q=picture+exactly&sort=-reward',
  'sort=advantage&min.reward=0.2&max.reward=0.9',
  'errors=yes&tool=code',
  'kind=train&max.reward_mllm=0.5&sort=-length',
)


def main(_: Sequence[str]) -> None:
  run = pathlib.Path(RUN.value)
  with tempfile.TemporaryDirectory() as folder:
    scratch = pathlib.Path(folder)
    writing(run, scratch)
    reporting(run)
    with sync_playwright() as playwright:
      program = shutil.which('chromium')
      browser = playwright.chromium.launch(executable_path=program, args=['--no-sandbox', '--disable-gpu'])
      painting(scratch / 'large', browser)
      filtering(run, browser)
      browser.close()


def writing(run: pathlib.Path, scratch: pathlib.Path) -> None:
  """A step's file, with its pictures new and with them there already, as the journal leaves them."""
  step = statistics.median(line['time/step'] for line in metrics.read(run))
  made = list(rollouts.read(rollouts.files(run / 'rollouts' / 'train')[-1]))
  known = pictures_of(run, made)
  times: dict[str, list[Spent]] = {'new': [], 'there already': []}
  for number in range(ROUNDS.value):
    for kind in times:  # the first writes the pictures that the second finds
      times[kind].append(spent(lambda n=number: rollouts.keep(scratch / f'w{n}', 'train', 1, made, known)))
  for kind, found in times.items():
    what = f'writing {len(made)} rollouts, their {len(known)} pictures {kind}, over the median step'
    print(f'| {what} | {share(found, step)} |')


def reporting(run: pathlib.Path) -> None:
  """The report, once a run."""
  found = [spent(lambda: page.build(run)) for _ in range(min(ROUNDS.value, 3))]
  size = (run / page.NAME).stat().st_size / (1 << 20)
  print(
    f'| the report ({size:.1f} MiB), over the run | {share(found, metrics.read_summary(run)["seconds"])} |'
  )


def painting(run: pathlib.Path, browser: Browser) -> None:
  """First contentful paint and load of a report that is as large as one may be."""
  path = large(run)
  paints, loads = [], []
  for _ in range(ROUNDS.value):
    tab = browser.new_page(viewport={'width': 1280, 'height': 900})
    tab.goto(path.resolve().as_uri())
    found = tab.evaluate(_PAINTED)
    paints.append(found[0])
    loads.append(found[1])
    tab.close()
  size = path.stat().st_size / (1 << 20)
  paint, load = statistics.median(paints), statistics.median(loads)
  print(f'| a report of {size:.1f} MiB: first paint, all loaded | {paint:.0f} ms, {load:.0f} ms |')


def filtering(run: pathlib.Path, browser: Browser) -> None:
  """Five filters over 5,000 rollouts: choosing and ordering, the page, and until the browser shows it."""
  index = Index(runs([run]))
  assert index.table.num_rows >= ROWS, f'{run} has {index.table.num_rows} rollouts; {ROWS} are needed.'
  index.table = index.table.slice(0, ROWS).combine_chunks()
  asked = [
    query.read([tuple(f.split('=')) for f in one.replace('+', ' ').split('&')], index) for one in FILTERS
  ]
  rounds = range(ROUNDS.value)
  rows = [median([spent(lambda q=q: query.rows(q, index)) for _ in rounds]) for q in asked]
  made = [median([spent(lambda q=q: pages.browse(q, index)) for _ in rounds]) for q in asked]
  with ports.listen(0) as socket:
    server = uvicorn.Server(
      uvicorn.Config(application(index), log_level='warning', lifespan='off', ws='none')
    )
    thread = threading.Thread(target=server.run, kwargs={'sockets': [socket]}, daemon=True)
    thread.start()
    tab = browser.new_page()
    tab.goto(f'http://127.0.0.1:{socket.getsockname()[1]}/')
    shown = [
      statistics.median(tab.evaluate(_SHOWN, f'/?{one}') for _ in range(ROUNDS.value)) for one in FILTERS
    ]
    server.should_exit = True
    thread.join(10)
  worst = lambda times: Spent(max(t.cpu for t in times), max(t.clock for t in times))
  told = ', '.join(
    f'{what} {1e3 * worst(times).cpu:.0f} ms of CPU ({1e3 * worst(times).clock:.0f} ms on the clock)'
    for what, times in (('choosing rows', rows), ('the page', made))
  )
  print(
    f'| a filter over {ROWS:,} rollouts, the slowest of {len(FILTERS)} | {told}; shown {max(shown):.0f} ms |'
  )


# Milliseconds until the first contentful paint, and until all is loaded.
_PAINTED = """() => new Promise((done) => {
  new PerformanceObserver((list) => {
    const [first] = list.getEntriesByName('first-contentful-paint');
    if (first) done([first.startTime, performance.getEntriesByType('navigation')[0].loadEventEnd]);
  }).observe({type: 'paint', buffered: true});
})"""

# From asking for a filter to the frame that shows its rows.
_SHOWN = """async (address) => {
  const began = performance.now();
  await show(address, {push: false, parts: ['list']});
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began;
}"""


def large(run: pathlib.Path) -> pathlib.Path:
  """A report of nearly 25 MiB: pictures of noise, which no encoder makes small."""
  rng = np.random.default_rng(0)
  base = Rollout('', 0, '', 0, question='Noise, please.', request=(Piece('text', 'Noise, please.'),))
  made, known = [], {}
  for number in range(40):
    answer: list[Piece] = []
    for _ in range(26):
      noise = images.from_array(rng.integers(0, 255, (256, 384, 3)).astype(np.uint8), source='search:0')
      known[noise.sha256] = noise
      ref = PictureRef(noise.sha256, noise.width, noise.height, noise.source)
      answer += [Piece('text', 'Words about noise. '), Piece('picture', tool='search', picture=ref)]
    task = f'noise/{number}'
    made.append(
      dataclasses.replace(
        base, id=f'9/{task}/0', step=9, task=task, answer=tuple(answer), reward=number / 40, run=run.name
      )
    )
  rollouts.keep(run, 'train', 10, made, known)
  (run / 'config.json').write_text(json.dumps({'seed': 0}))
  return page.build(run, tell=lambda words: None)


def pictures_of(run: pathlib.Path, made: Sequence[Rollout]) -> dict[str, Image]:
  """The pictures that rollouts show, by hash."""
  load = from_folder(run)
  refs = [piece.picture for r in made for piece in (*r.request, *r.answer) if piece.picture]
  return {ref.sha256: load(ref) for ref in refs}


class Spent(NamedTuple):
  """Seconds of some work: of this process's CPU, and on the clock, which other processes make longer."""

  cpu: float
  clock: float


def spent(work: Callable[[], object]) -> Spent:
  """What some work takes."""
  cpu, clock = time.process_time(), time.perf_counter()
  work()
  return Spent(time.process_time() - cpu, time.perf_counter() - clock)


def median(found: Sequence[Spent]) -> Spent:
  """The median of each."""
  return Spent(*(statistics.median(times) for times in zip(*found)))


def share(found: Sequence[Spent], whole: float) -> str:
  """CPU time over a whole, and the clock's."""
  one = median(found)
  return (
    f'{1e3 * one.cpu:.0f} ms of CPU over {whole:.2f} s: {100 * one.cpu / whole:.1f} %; '
    f'{1e3 * one.clock:.0f} ms on the clock'
  )


if __name__ == '__main__':
  app.run(main)
