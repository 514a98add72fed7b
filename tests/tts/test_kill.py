"""kill -9 in the middle of a scaled generation: the same command goes on and asks nobody twice."""

import asyncio
import json
import pathlib
import signal
import sys

import pyarrow.parquet as pq
import pytest

from llmi_jax.judges.remote import MLLM
from llmi_jax.tts import page, record
from tests.doubles.chat import Act, ChatServer, texts

ROOT = pathlib.Path(__file__).resolve().parents[2]


def reply(body, number):
  text = texts(body)
  if 'BEGIN ANSWER ' not in text:
    return Act(text='```python\ngood\n```')
  code = text.partition('BEGIN ANSWER ')[2].split()[0]
  grade = 1 + int(code[2:6], 16) % 5
  return Act(text=f'VERDICT {code}\n' + '\n'.join(f'{name}: {grade}' for name in MLLM.scores))


async def start(folder, url):
  command = [sys.executable, '-m', 'tests.doubles.scaling_run', str(folder), url]
  return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)


async def finished(folder, url):
  process = await start(folder, url)
  out, _ = await asyncio.wait_for(process.communicate(), 120)
  assert process.returncode == 0
  return json.loads(out)


def bodies(requests):
  return [json.dumps(body, sort_keys=True) for body in requests]


def calls(folder):
  return (folder / 'calls').read_text().splitlines()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An uninterrupted run: its folder, what it told, and what it asked."""
  folder = tmp_path_factory.mktemp('whole') / 'run'

  async def work():
    async with ChatServer(reply) as server:
      return await finished(folder, server.url), bodies(server.requests)

  return folder, *asyncio.run(work())


@pytest.mark.parametrize('hangs_at', [pytest.param(3, marks=pytest.mark.slow), 7])
def test_killed_and_gone_on(tmp_path, whole, hangs_at):
  """The third question falls into selecting, the seventh into enhancing."""

  async def work():
    reached = asyncio.Event()

    def script(body, number):
      if number == hangs_at and not reached.is_set():
        reached.set()
        return Act('hang')
      return reply(body, number)

    async with ChatServer(script) as server:
      process = await start(tmp_path / 'killed', server.url)
      await asyncio.wait_for(reached.wait(), 120)
      await asyncio.sleep(0.2)
      process.send_signal(signal.SIGKILL)
      await process.wait()
      first = bodies(server.requests)
      before = calls(tmp_path / 'killed')
      server.requests.clear()
      again = await finished(tmp_path / 'killed', server.url)
      return first, before, again, bodies(server.requests)

  folder, told, asked = whole
  first, before, again, second = asyncio.run(work())
  assert again == told
  assert len(asked) == len(set(asked)) > hangs_at
  assert set(first[:-1]).isdisjoint(second)  # the last one was never answered
  assert sorted(first[:-1] + second) == sorted(asked)
  after = calls(tmp_path / 'killed')
  assert after[: len(before)] == before
  assert len(set(after)) == len(after) == len(calls(folder))


def test_the_record_and_the_page_tell_of_everybody(whole):
  folder, told, _ = whole
  rows = pq.read_table(folder / record.TREE).to_pylist()
  chosen = [row for row in rows if row['chosen']]
  assert [row['response'] for row in chosen] == [told['response']]
  assert chosen[0]['images'] == told['pictures']
  assert [row['parent'] for row in rows[:4]] == [None] * 4
  assert all(row['fates'] for row in rows)
  assert {fate['stage'] for row in rows for fate in row['fates']} >= {'filter', 'select', 'enhance', 'answer'}
  pieces = [piece for row in rows for piece in row['answer'] if piece['picture']]
  assert all((folder / piece['picture']['path']).is_file() for piece in pieces)
  account = json.loads((folder / record.ACCOUNT).read_text())[0]
  assert account['total']['calls'] == told['calls']
  assert account['seconds'] == pytest.approx(sum(account['wall'].values()))
  html = (folder / page.NAME).read_text()
  assert html.count('id="revision-') == len(rows)
  for words in ('Sample 0', 'goes on', 'out</b>', 'tool:search', 'A house'):
    assert words in html
  assert 'http' not in html.replace('http-equiv', '').replace('http://www.w3.org', '')
