"""Two real processes save into one folder, restore on other meshes, and wait for each other in bounds."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from llmi_jax.checkpoint.peers import Peers

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_one_process_speaks_to_itself():
  peers = Peers('test')
  assert (peers.index, peers.count) == (0, 1)
  assert peers.exchange('spoken', 'word') == ('word',)
  peers.give_up('no reason')
  peers.check()


def start(act, folder, count, devices):
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  common = [
    f'--port={port}',
    f'--count={count}',
    f'--devices={devices}',
    f'--act={act}',
    f'--folder={folder}',
  ]
  return [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.checkpoint.pair', *common, f'--index={index}'],
      cwd=ROOT,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]


def hear(processes, seconds=120):
  """Each process's last line."""
  said = []
  try:
    for process in processes:
      out, errors = process.communicate(timeout=seconds)
      assert out, errors[-2000:]
      said.append(json.loads(out.splitlines()[-1]))
  finally:
    for process in processes:
      process.kill()
  return said


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pair') / 'checkpoints'
  return folder, hear(start('save', folder, 2, 4))


@pytest.mark.slow
def test_two_processes_save_one_folder(saved):
  folder, (first, second) = saved
  assert first['steps'] == second['steps'] == [1, 2] and first['digest'] == second['digest']
  files = json.loads((folder / 'step=2' / 'manifest.json').read_text())['files']
  assert {name.split('/')[1] for name in files if '/' in name} >= {'ocdbt.process_0', 'ocdbt.process_1'}


@pytest.mark.slow
@pytest.mark.parametrize(('count', 'devices'), [(2, 4), (2, 2), (1, 8), (1, 1)])
def test_what_two_saved_is_restored_on_another_mesh(saved, count, devices):
  folder, (first, _) = saved
  for said in hear(start('restore', folder, count, devices)):
    assert (said['step'], said['digest'], said['damaged']) == (2, first['digest'], [])
    assert said['sum'] == pytest.approx(2 * sum(range(16 * 4096)) + 6, rel=1e-5)


@pytest.mark.slow
def test_one_process_that_cannot_write_is_named_by_both_within_the_limit(tmp_path):
  first, second = hear(start('fail', tmp_path / 'checkpoints', 2, 2))
  assert 'cannot be written' in second['error'], second
  assert 'Process 1 gave up' in first['error'], first
  assert first['seconds'] < 12 + 5 and second['seconds'] < 12 + 5
  assert not list((tmp_path / 'checkpoints').glob('step=*/manifest.json'))


@pytest.mark.slow
def test_one_process_that_does_not_come_is_named_within_the_limit(tmp_path):
  first, _ = hear(start('silent', tmp_path / 'checkpoints', 2, 2))
  assert 'Process 1 has not begun to save within 12 s' in first['error'] and first['seconds'] < 12 + 5
