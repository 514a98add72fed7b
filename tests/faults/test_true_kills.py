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
  rng, began = random.Random(0), []
  for number in range(KILLS):
    folder = pathlib.Path(tempfile.mkdtemp(dir=workers.scratch))
    worker = Worker(workers.shim)
    try:
      assert worker.hear() == {'ready': True}
      worker.tell({'folder': str(folder)})
      wait_for(folder / 'checkpoints' / f'step={number % 3 + 1}', worker)
      time.sleep(rng.uniform(0, 0.5))
    finally:
      worker.process.kill()
      worker.process.wait()
    found = workers.go_on(disk.load(folder))
    began.append(found['began'])
    assert found['state'] == recorded.found['state'], number
  print(f'\nkilled runs went on from steps {began}')


def wait_for(path, worker, seconds=180.0):
  until = time.monotonic() + seconds
  while not path.exists():
    assert worker.process.poll() is None and time.monotonic() < until
    time.sleep(0.01)
