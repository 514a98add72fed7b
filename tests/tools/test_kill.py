"""`kill -9` during a hundred concurrent calls: nothing corrupt, nothing running, nothing half-written."""

import asyncio
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from llmi_jax.core.document import ToolCall
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import ImageRule, Message, Task
from llmi_jax.services.cache import Cache
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit
from llmi_jax.tools import code, search
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Registry
from llmi_jax.tools.sandbox.host import Figures, Sandbox
from llmi_jax.tools.session import SessionKey

ROOT = pathlib.Path(__file__).parents[2]
CALLS = 100


async def serve(folder: pathlib.Path) -> list[ToolOutcome]:
  """A hundred different plots, each a response of its own, with cache and journal in `folder`."""
  from llmi_jax.data import photographs

  sandbox = await Sandbox.open(Figures(1.6, 1.2, 50, 6, False), jobs=2)
  journal = Journal(folder)
  try:
    registry = Registry([code.code_tool(sandbox), search.search_tool(photographs.load()[:3])])
    dispatcher = Dispatcher(
      registry, limits={'code': Limit(CALLS, 120.0)}, cache=Cache(folder / 'cache'), journal=journal
    )
    print(sandbox._outside._process.pid, flush=True)

    async def one(number: int) -> ToolOutcome:
      task = Task(f'task-{number}', (Message('user', ()),), 'q', ImageRule('free'))
      session = dispatcher.open(task, SessionKey(0, 1, task.id, 0))
      params = {'code': f'plt.plot(np.arange({number + 2}))'}
      session.submit(ToolCall('<imgen>', 0, position=0, tool='code', description='', params=params))
      return (await session.finish())[0]

    return list(await asyncio.gather(*map(one, range(CALLS))))
  finally:
    await sandbox.close()
    journal.close()


def started(folder: pathlib.Path) -> tuple[subprocess.Popen, list[psutil.Process]]:
  """The same in a process of its own, with everything below it."""
  holder = subprocess.Popen(
    [sys.executable, '-m', 'tests.tools.test_kill', str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
  )
  assert holder.stdout
  launcher = psutil.Process(int(holder.stdout.readline()))
  return holder, [launcher, *launcher.children(recursive=True)]


def kept(folder: pathlib.Path) -> list[pathlib.Path]:
  return [path for path in (folder / 'cache').glob('??/*') if path.suffix != '.part']


@pytest.mark.slow
def test_kill_9_among_a_hundred_calls_loses_only_what_was_under_way(tmp_path):
  holder, below = started(tmp_path)
  below += psutil.Process(holder.pid).children(recursive=True)
  end = time.monotonic() + 60
  while len(kept(tmp_path)) < 12 and time.monotonic() < end:
    time.sleep(0.01)
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  assert holder.stdout
  holder.stdout.close()
  _, alive = psutil.wait_procs(below, timeout=5)
  assert not alive
  survived = {path: path.read_bytes() for path in kept(tmp_path)}
  assert 12 <= len(survived) < CALLS

  outcomes = asyncio.run(serve(tmp_path))
  assert [o.status for o in outcomes] == ['ok'] * CALLS
  assert len({o.image.sha256 for o in outcomes if o.image}) == CALLS
  # Whole entries are served again, byte by byte; nothing half-written is left.
  assert all(path.read_bytes() == data for path, data in survived.items())
  assert len(kept(tmp_path)) == CALLS
  assert not [path for path in tmp_path.rglob('*') if path.suffix == '.part']
  assert asyncio.run(serve(tmp_path)) == outcomes


if __name__ == '__main__':
  asyncio.run(serve(pathlib.Path(sys.argv[1])))
