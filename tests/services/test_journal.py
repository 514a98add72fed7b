import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from llmi_jax.core.errors import DataError, StorageError
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.services import images
from llmi_jax.services.journal import Entry, Journal

ROOT = pathlib.Path(__file__).parents[2]


def outcome(shade: int) -> ToolOutcome:
  image = images.from_array(np.full((2, 2, 3), shade % 256, np.uint8))
  return ToolOutcome('ok', 'none', (Candidate(image),), tool='draw', seed=shade)


def entry(call: int, step: int = 0, kind='tool') -> Entry:
  return Entry(kind, step, 'täsk', 1, call)


FAILED = ToolOutcome('unavailable', 'environment', error='down')
VERDICT = Verdict('llm', 'scored', (Score('text', 4),))


def put(journal, replies):
  async def main():
    await asyncio.gather(*(journal.put(key, value) for key, value in replies.items()))

  asyncio.run(main())


def own_file(folder, process=0) -> pathlib.Path:
  return folder / 'journal' / f'process-{process}.jsonl'


def test_replies_of_every_kind_survive_reopening(tmp_path):
  replies = {entry(0): outcome(1), entry(1): FAILED, Entry('judge', 0, 't', 0, 'llm', 2): VERDICT}
  journal = Journal(tmp_path)
  put(journal, replies)
  assert all(journal.get(key) == value for key, value in replies.items())
  journal.close()
  again = Journal(tmp_path)
  assert all(again.get(key) == value for key, value in replies.items())
  assert again.get(entry(7)) is None
  assert [p.name for p in (tmp_path / 'images').iterdir()] == [f'{outcome(1).image.sha256}.png']


def test_many_puts_at_once_share_fsyncs(tmp_path, monkeypatch):
  count = []
  fsync = os.fsync
  monkeypatch.setattr(os, 'fsync', lambda fd: (count.append(fd), fsync(fd))[1])
  journal = Journal(tmp_path)
  put(journal, {entry(i): FAILED for i in range(200)})
  assert 1 <= len(count) <= 40
  journal.close()
  assert sum(1 for _ in own_file(tmp_path).open()) == 200


def test_whoever_leaves_before_the_fsync_does_not_stop_the_writer(tmp_path, monkeypatch):
  writing, leave = threading.Event(), threading.Event()
  fsync, journal = os.fsync, Journal(tmp_path)
  monkeypatch.setattr(os, 'fsync', lambda fd: (writing.set(), leave.wait(10), fsync(fd)))

  async def main():
    waiting = asyncio.create_task(journal.put(entry(0), FAILED))
    await asyncio.to_thread(writing.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
      await waiting
    leave.set()
    await asyncio.wait_for(journal.put(entry(1), FAILED), 10)

  asyncio.run(main())
  journal.close()
  again = Journal(tmp_path)
  assert again.get(entry(0)) == again.get(entry(1)) == FAILED


@pytest.mark.parametrize('cut', [1, 20, 60])
def test_a_torn_tail_is_cut_and_writing_goes_on(tmp_path, cut):
  journal = Journal(tmp_path)
  put(journal, {entry(0): FAILED})
  put(journal, {entry(1): FAILED})
  journal.close()
  path = own_file(tmp_path)
  whole = path.read_bytes()
  path.write_bytes(whole[:-cut])
  journal = Journal(tmp_path)
  assert journal.get(entry(0)) == FAILED and journal.get(entry(1)) is None
  put(journal, {entry(1): outcome(3)})
  journal.close()
  assert Journal(tmp_path).get(entry(1)) == outcome(3)


def test_every_possible_torn_tail_leaves_the_replies_before_it(tmp_path):
  journal = Journal(tmp_path)
  put(journal, {entry(0): FAILED})
  first = own_file(tmp_path).stat().st_size
  put(journal, {entry(1): FAILED})
  journal.close()
  whole = own_file(tmp_path).read_bytes()
  for end in range(first, len(whole)):
    own_file(tmp_path).write_bytes(whole[:end])
    opened = Journal(tmp_path)
    assert opened.get(entry(0)) == FAILED and opened.get(entry(1)) is None
    assert own_file(tmp_path).stat().st_size == first
    opened.close()


def test_a_changed_line_before_the_last_is_an_error_that_names_it(tmp_path):
  journal = Journal(tmp_path)
  put(journal, {entry(0): FAILED})
  put(journal, {entry(1): FAILED})
  journal.close()
  own_file(tmp_path).write_bytes(own_file(tmp_path).read_bytes().replace(b'down', b'up!!', 1))
  with pytest.raises(DataError, match=r'process-0\.jsonl is damaged in line 1'):
    Journal(tmp_path)


def test_a_missing_or_damaged_picture_is_an_error_that_names_it(tmp_path):
  journal = Journal(tmp_path)
  put(journal, {entry(0): outcome(1)})
  [picture] = (tmp_path / 'images').iterdir()
  picture.write_bytes(b'x')
  with pytest.raises(DataError, match='is damaged'):
    journal.get(entry(0))
  picture.unlink()
  with pytest.raises(DataError, match='cannot be read'):
    journal.get(entry(0))


def test_files_are_read_under_any_process_count_and_trimmed_by_their_adopters(tmp_path):
  for process in range(4):
    journal = Journal(tmp_path, process, 4)
    put(journal, {entry(process, step): outcome(10 * process + step) for step in range(3)})
    journal.close()
  journals = [Journal(tmp_path, process, 2) for process in range(2)]
  for journal in journals:
    assert all(journal.get(entry(p, s)) == outcome(10 * p + s) for p in range(4) for s in range(3))
  for journal in journals:
    journal.trim(before_step=2)
    journal.close()
  reread = Journal(tmp_path)
  kept = [(p, s) for p in range(4) for s in range(3) if reread.get(entry(p, s))]
  assert kept == [(p, 2) for p in range(4)]


def test_discarding_forgets_later_steps_and_trimming_earlier_ones(tmp_path):
  journal = Journal(tmp_path)
  put(journal, {entry(0, step): FAILED for step in range(6)})
  journal.trim(2)
  journal.discard_from(5)
  put(journal, {entry(1, 5): FAILED})
  journal.close()
  reread = Journal(tmp_path)
  assert [s for s in range(6) if reread.get(entry(0, s))] == [2, 3, 4]
  assert reread.get(entry(1, 5)) == FAILED


def test_a_full_disk_is_told_to_whoever_waits_and_leaves_no_half_line(tmp_path, monkeypatch):
  journal = Journal(tmp_path)
  put(journal, {entry(0): FAILED})
  before = own_file(tmp_path).read_bytes()
  write = os.write
  monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, data[:5]) and _full())
  with pytest.raises(StorageError, match='free some space'):
    put(journal, {entry(1): FAILED})
  monkeypatch.undo()
  assert own_file(tmp_path).read_bytes() == before
  put(journal, {entry(1): FAILED})
  journal.close()
  assert Journal(tmp_path).get(entry(1)) == FAILED


def _full():
  raise OSError(28, os.strerror(28))


def test_a_closed_journal_says_so(tmp_path):
  journal = Journal(tmp_path)
  journal.close()
  with pytest.raises(StorageError, match='closed'):
    put(journal, {entry(0): FAILED})


WRITER = """
import asyncio, sys
sys.path[:0] = ['.', 'tests/services']
from test_journal import Journal, entry, outcome

async def main():
  journal = Journal(sys.argv[1])
  async def one(i):
    await journal.put(entry(i), outcome(i))
    print(i, flush=True)
  for start in range(0, 10**6, 20):
    await asyncio.gather(*(one(start + i) for i in range(20)))

asyncio.run(main())
"""


@pytest.mark.parametrize('lines', [1, 57, 133])
def test_what_was_acknowledged_outlives_kill_9(tmp_path, lines):
  writer = subprocess.Popen(
    [sys.executable, '-c', WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
  )
  said = [int(writer.stdout.readline()) for _ in range(lines)]
  time.sleep(0.003 * (lines % 7))
  writer.send_signal(signal.SIGKILL)
  said += [int(line) for line in writer.stdout.read().splitlines()]
  writer.wait()
  writer.stdout.close()
  journal = Journal(tmp_path)
  assert all(journal.get(entry(i)) == outcome(i) for i in said)
  assert not list(tmp_path.rglob('*.part'))


def test_a_line_is_a_checksum_and_json(tmp_path):
  journal = Journal(tmp_path)
  put(journal, {entry(0): FAILED})
  digest, _, text = own_file(tmp_path).read_text().partition(' ')
  key, record = json.loads(text)
  assert len(digest) == 16 and key == ['tool', 0, 'täsk', 1, 0, 0] and record['error'] == 'down'
