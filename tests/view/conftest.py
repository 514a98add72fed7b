"""Two small runs and the viewer over them, on a real socket of this machine."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.report import attacks
from tests.report.conftest import browser, make, scene, visit, write_run  # noqa: F401


@pytest.fixture(scope='session')
def two(tmp_path_factory):
  """Two runs of the same tasks; the second with another seed, one other prompt and another judge."""
  folder = tmp_path_factory.mktemp('two')
  runs = [write_run(folder / name, steps=8) for name in ('herons', 'egrets')]
  (runs[1] / 'config.json').write_text(json.dumps({'seed': 4, 'reward': {'rule': 0.2}}))
  return runs


@pytest.fixture(scope='session')
def attacked(make, tmp_path_factory):  # noqa: F811
  """A run whose every string was chosen by an attacker."""
  return attacks.write(make, tmp_path_factory.mktemp('attacked') / 'run')


@contextlib.contextmanager
def serving(index):
  """The viewer's address while it is served."""
  uvicorn = pytest.importorskip('uvicorn')
  from llmi_jax.services.ports import listen
  from llmi_jax.view.app import application

  with listen(0) as socket:
    server = uvicorn.Server(
      uvicorn.Config(application(index), log_level='warning', lifespan='off', ws='none')
    )
    thread = threading.Thread(target=server.run, kwargs={'sockets': [socket]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
      time.sleep(0.01)
    try:
      yield f'http://127.0.0.1:{socket.getsockname()[1]}'
    finally:
      server.should_exit = True
      thread.join(10)


def get(address, **headers):
  """Status, headers and body."""
  try:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=300) as reply:
      return reply.status, reply.headers, reply.read()
  except urllib.error.HTTPError as error:
    return error.code, error.headers, error.read()
