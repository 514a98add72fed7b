"""Processes that run worlds, and what is asked of them: record a run, go on from an image."""

import concurrent.futures
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tests.faults import disk

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 180  # for one order, at most


class Worker:
  """One process. Orders are answered one at a time."""

  def __init__(self, shim: pathlib.Path):
    environment = {
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'LD_PRELOAD': str(shim),
      'LLMI_TEST_XLA': str(pathlib.Path(tempfile.gettempdir()) / 'llmi_jax-test-xla'),
      'PYTHONPATH': str(ROOT),
    }
    self.process = subprocess.Popen(
      [sys.executable, '-m', 'tests.faults.world'],
      cwd=ROOT,
      env=environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )

  def tell(self, order: dict[str, Any]) -> None:
    assert self.process.stdin
    self.process.stdin.write(json.dumps(order) + '\n')
    self.process.stdin.flush()

  def hear(self) -> dict[str, Any]:
    assert self.process.stdout
    guard = threading.Timer(SECONDS, self.process.kill)
    guard.start()
    try:
      line = self.process.stdout.readline()
    finally:
      guard.cancel()
    assert line, f'The worker ended with {self.process.wait()}.'
    return json.loads(line)

  def close(self) -> None:
    assert self.process.stdin
    self.process.stdin.close()
    try:
      self.process.wait(30)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()


class Checked(NamedTuple):
  """An image, what a run made of it, and what is wrong with that; nothing where `fault` is empty."""

  image: disk.Image
  found: dict[str, Any]
  fault: str


class Recording(NamedTuple):
  """A run that was recorded: its operations and what it came to."""

  operations: list[disk.Operation]
  found: dict[str, Any]


class Workers:
  """Some workers, and folders in memory for them where there are any."""

  def __init__(self, shim: pathlib.Path, number: int = 2):
    self.shim = shim
    self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    self._all = [Worker(shim) for _ in range(number)]
    for worker in self._all:
      assert worker.hear() == {'ready': True}
      self._free.put(worker)
    memory = pathlib.Path('/dev/shm')
    self.scratch = pathlib.Path(tempfile.mkdtemp('-faults', dir=memory if memory.is_dir() else None))

  def close(self) -> None:
    for worker in self._all:
      worker.close()
    shutil.rmtree(self.scratch, ignore_errors=True)

  def ask(self, **order: Any) -> dict[str, Any]:
    """Whoever is free carries out an order."""
    worker = self._free.get()
    try:
      worker.tell(order)
      return worker.hear()
    finally:
      self._free.put(worker)

  def record(self, tree: disk.Tree | None = None, plant: str = 'none') -> Recording:
    """A whole run, or the rest of one that left `tree`, with its operations."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
    disk.store(tree or {}, folder / 'run')
    log = folder / 'log'
    found = self.ask(folder=str(folder / 'run'), log=str(log), plant=plant)
    operations = list(disk.read(log))
    replayed = disk.Disk(tree)
    for operation in operations:
      replayed.apply(operation)
    left = {path: one.data if one else None for path, one in replayed.image('kill').items()}
    assert left == disk.load(folder / 'run'), 'The log does not tell all that was done.'
    shutil.rmtree(folder)
    return Recording(operations, found)

  def go_on(self, tree: disk.Tree, left: disk.Tree | None = None, **order: Any) -> dict[str, Any]:
    """What becomes of a folder; what it then holds goes into `left`."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
    try:
      disk.store(tree, folder / 'run')
      found = self.ask(folder=str(folder / 'run'), **order)
      if left is not None:
        left.update(disk.load(folder / 'run'))
      return found
    finally:
      shutil.rmtree(folder)

  def each(self, jobs: Iterable[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
    """`work` of every job, as many at once as there are workers, in order."""
    waiting: list[concurrent.futures.Future[Any]] = []
    with concurrent.futures.ThreadPoolExecutor(len(self._all)) as threads:
      for job in jobs:  # lazily: every image holds a tree
        waiting.append(threads.submit(work, job))
        if len(waiting) > len(self._all):
          yield waiting.pop(0).result()
      for future in waiting:
        yield future.result()
