"""The recording library, the processes that run worlds, and one run recorded from beginning to end."""

import shutil
import subprocess

import pytest

from tests.faults.workers import ROOT, Workers


@pytest.fixture(scope='session')
def shim(tmp_path_factory):
  """The compiled library."""
  compiler = shutil.which('cc') or shutil.which('gcc')
  if compiler is None:
    pytest.skip('there is no C compiler')
  library = tmp_path_factory.mktemp('shim') / 'shim.so'
  source = ROOT / 'tests' / 'faults' / 'shim.c'
  subprocess.run(
    [compiler, '-shared', '-fPIC', '-O1', '-o', library, source, '-ldl', '-lpthread'], check=True
  )
  return library


@pytest.fixture(scope='session')
def workers(shim):
  made = Workers(shim)
  yield made
  made.close()


@pytest.fixture(scope='session')
def recorded(workers):
  """A run from an empty folder to its end."""
  workers.go_on({})  # compiles
  return workers.record()
