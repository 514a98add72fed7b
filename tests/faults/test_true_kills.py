"""Ten kills that are none of the recording library's making: the interleavings are the machine's own."""

import pathlib
import random
import tempfile
import time

import pytest

from tests.faults import disk
from tests.faults.workers import Worker

pytestmark = pytest.mark.slow

KILLS = 10


def test_ten_true_kills_end_in_the_same_bits(workers, recorded):
  rng = random.Random(0)
  folder = pathlib.Path(tempfile.mkdtemp(dir=workers.scratch))
  (folder / 'run').mkdir()
  began = set()
  for number in range(KILLS):
    worker = Worker(workers.shim)
    try:
      assert worker.hear() == {'ready': True}
      # A folder that is new now and then: a single one would soon be finished.
      if number % 3 == 0:
        current = pathlib.Path(tempfile.mkdtemp(dir=folder)) / 'run'
        current.mkdir()
      steps = rng.randrange(3)
      worker.tell({'folder': str(current)})
      wait_for(lambda steps=steps: len(list(current.glob('checkpoints/step=*'))) >= min(1, steps), worker)
      time.sleep(rng.uniform(0, 1.5))
    finally:
      worker.process.kill()
      worker.process.wait()
    found = workers.go_on(disk.load(current))
    began.add(found['began'])
    assert found['state'] == recorded.found['state'], number
  print(f'\nkilled runs went on from steps {sorted(began)}')


def wait_for(condition, worker, seconds=180.0):
  until = time.monotonic() + seconds
  while not condition() and worker.process.poll() is None and time.monotonic() < until:
    time.sleep(0.01)
  assert condition()
