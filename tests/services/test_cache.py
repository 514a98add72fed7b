import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.services import images
from llmi_jax.services.cache import Cache, content_key

ROOT = pathlib.Path(__file__).parents[2]


def outcome(shade: int, side: int = 2) -> ToolOutcome:
  pixels = np.random.default_rng(shade).integers(0, 256, (side, side, 3), np.uint8)
  return ToolOutcome('ok', 'none', (Candidate(images.from_array(pixels)),), tool='draw', seed=shade)


def key(number: int) -> str:
  return content_key('tool', params={'n': number})


def files(folder):
  return sorted(path for path in folder.rglob('*') if path.is_file())


def test_what_was_put_is_got_after_reopening(tmp_path):
  Cache(tmp_path).put(key(1), outcome(1))
  assert Cache(tmp_path).get(key(1)) == outcome(1)
  assert Cache(tmp_path).get(key(2)) is None


def test_keys_depend_on_content_and_not_on_order():
  assert content_key('tool', a=1, b={'x': 1, 'y': 2}) == content_key('tool', b={'y': 2, 'x': 1}, a=1)
  assert len({content_key('tool', a=1), content_key('judge', a=1), content_key('tool', a='1')}) == 3


@pytest.mark.parametrize('position', [0, 40, 70, 200, -1])
def test_a_flipped_bit_is_a_miss_and_the_entry_goes(tmp_path, position):
  cache = Cache(tmp_path)
  cache.put(key(1), outcome(1))
  [path] = files(tmp_path)
  data = bytearray(path.read_bytes())
  data[position] ^= 1
  path.write_bytes(data)
  assert cache.get(key(1)) is None and not files(tmp_path)


@pytest.mark.parametrize('length', [0, 10, 64, 65, 300])
def test_a_truncated_entry_is_a_miss(tmp_path, length):
  cache = Cache(tmp_path)
  cache.put(key(1), outcome(1))
  [path] = files(tmp_path)
  os.truncate(path, length)
  assert cache.get(key(1)) is None


def test_read_only_neither_writes_nor_removes(tmp_path):
  Cache(tmp_path).put(key(1), outcome(1))
  before = {path: path.read_bytes() for path in files(tmp_path)}
  frozen = Cache(tmp_path, max_bytes=1, read_only=True)
  frozen.put(key(2), outcome(2))
  assert frozen.get(key(1)) == outcome(1) and frozen.get(key(2)) is None
  assert {path: path.read_bytes() for path in files(tmp_path)} == before
  assert Cache(tmp_path / 'absent', read_only=True).get(key(1)) is None


def test_the_oldest_entries_go_when_it_is_full(tmp_path):
  cache = Cache(tmp_path, max_bytes=40_000)
  for number in range(20):
    cache.put(key(number), outcome(number, 32))
    time.sleep(0.002)
  assert sum(path.stat().st_size for path in files(tmp_path)) <= 40_000
  kept = [number for number in range(20) if cache.get(key(number))]
  assert 5 <= len(kept) < 20 and kept == list(range(20 - len(kept), 20))


WORKER = """
import sys
sys.path[:0] = ['.', 'tests/services']
from test_cache import Cache, key, outcome
cache = Cache(sys.argv[1], max_bytes=60_000)
print('ready', flush=True)
for i in range(int(sys.argv[2])):
  number = (i * int(sys.argv[3])) % 31
  found = cache.get(key(number))
  assert found is None or found == outcome(number, 24), number
  cache.put(key(number), outcome(number, 24))
"""


def worker(folder, rounds, stride):
  command = [sys.executable, '-c', WORKER, str(folder), str(rounds), str(stride)]
  return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_processes_that_write_and_evict_at_once_never_read_a_torn_entry(tmp_path):
  workers = [worker(tmp_path, 150, stride) for stride in (1, 2, 3)]
  assert [w.wait(60) for w in workers] == [0, 0, 0]
  for w in workers:
    w.stdout.close()


def test_kill_9_leaves_nothing_torn_and_no_temporary_file_after_reopening(tmp_path):
  workers = [worker(tmp_path, 10**6, stride) for stride in (1, 2)]
  for w in workers:
    w.stdout.readline()
  time.sleep(0.15)
  for w in workers:
    w.send_signal(signal.SIGKILL)
  for w in workers:
    w.wait()
    w.stdout.close()
  cache = Cache(tmp_path, max_bytes=10**9)
  assert files(tmp_path) and not [path for path in files(tmp_path) if path.suffix == '.part']
  assert all(cache.get(path.name) is not None for path in files(tmp_path))


def test_a_living_writers_temporary_file_is_not_swept(tmp_path):
  script = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
print('locked', flush=True)
time.sleep(60)
"""
  part, stale = tmp_path / 'x.part', tmp_path / 'y.part'
  stale.write_bytes(b'')
  writer = subprocess.Popen([sys.executable, '-c', script, str(part)], stdout=subprocess.PIPE, text=True)
  writer.stdout.readline()
  Cache(tmp_path)
  assert part.exists() and not stale.exists()
  writer.kill()
  writer.wait()
  writer.stdout.close()
  Cache(tmp_path)
  assert not part.exists()
