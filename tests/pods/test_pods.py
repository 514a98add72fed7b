"""Runs of two real processes: the same as one, and what becomes of them when one fails, stops or dies."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from llmi_jax import wiring
from llmi_jax.data import rollouts, tasks
from llmi_jax.data.builtin import generate
from tests.pods import starting
from tests.sampling import test_mesh

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def short(tmp_path_factory):
  """Arguments that make a run of seconds."""
  few = tmp_path_factory.mktemp('tasks') / 'few.parquet'
  tasks.save(generate.tasks('test')[:3], few)
  values = {
    'steps': 3,
    'data.prompts': 2,
    'data.samples': 4,
    'data.eval': few,
    'eval.samples': 1,
    'optimizer.widths': '(160,)',
    'checkpoint.every': 1,
  }
  return [f'--config.{key}={value}' for key, value in values.items()]


@pytest.fixture(scope='module')
def alone(short, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'alone'
  ((code, errors),) = starting.ended([starting.start([f'--workdir={workdir}', *short])])
  assert code == 0, errors
  return workdir


@pytest.fixture(scope='module')
def both(short, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'both'
  # Moments that wait elsewhere are the same moments.
  arguments = [f'--workdir={workdir}', *short, '--config.optimizer.offload=True']
  for code, errors in starting.ended(starting.pair(arguments)):
    assert code == 0, errors
  return workdir


NOT_COMPARED = ('time/', 'policy/logp_gap')


def rows(workdir, kind):
  return list(rollouts.read(workdir / 'rollouts' / kind))


def lines(workdir):
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def check_same(one, two, but=NOT_COMPARED):
  """The same samples, figures up to rounding, and parameters likewise."""
  for kind in ('train', 'eval'):
    a, b = rows(one, kind), rows(two, kind)
    assert [x.id for x in a] == [x.id for x in b]
    for x, y in zip(a, b):
      np.testing.assert_array_equal(x.tokens, y.tokens)
      np.testing.assert_allclose(x.logp_full, y.logp_full, atol=1e-4)
      assert (x.reward, x.advantage) == pytest.approx((y.reward, y.advantage), abs=1e-6)
  for x, y in zip(lines(one), lines(two), strict=True):
    assert not [name for name in x.keys() ^ y.keys() if not name.startswith(but)]
    for name in (name for name in x if not name.startswith(but)):
      assert (x[name] is None) == (y[name] is None), name
      assert x[name] is None or x[name] == pytest.approx(y[name], rel=1e-4, abs=1e-6), name
  for x, y in zip(*(jax.tree.leaves(wiring.trained(str(w))[1].model) for w in (one, two)), strict=True):
    np.testing.assert_allclose(x, y, atol=2e-5)


def test_two_processes_train_to_what_one_trains(alone, both):
  check_same(alone, both)
  assert {path.name for path in (both / 'rollouts' / 'train' / 'step=1').iterdir()} == {
    'proc=0.parquet',
    'proc=1.parquet',
  }
  assert json.loads((both / 'summary.json').read_text())['eval_after']['n_samples'] == 3


def wait_for(workdir, step, processes):
  """Until these processes, which have just begun, have ended the step."""
  metrics, began = workdir / 'metrics.jsonl', time.time()
  while all(process.poll() is None for process in processes):
    if metrics.exists() and metrics.stat().st_mtime > began and metrics.read_text().count('\n') >= step:
      return
    time.sleep(0.05)
  raise AssertionError([process.stderr.read() for process in processes])


def test_killed_processes_take_the_others_along_and_the_run_goes_on(short, both, tmp_path):
  workdir = tmp_path / 'killed'
  arguments = [f'--workdir={workdir}', *short]
  for step, victims in ((1, {1}), (2, {0}), (3, {0, 1})):
    processes = starting.pair(arguments)
    wait_for(workdir, step, processes)
    for victim in victims:
      processes[victim].kill()
    killed = time.monotonic()
    ends = starting.ended(processes, 120)
    assert time.monotonic() - killed < 90
    for survivor in {0, 1} - victims:
      code, errors = ends[survivor]
      assert code not in (0, None)
      assert 'process was lost' in errors or 'distributed service' in errors, errors
  assert [code for code, _ in starting.ended(starting.pair(arguments))] == [0, 0]
  check_same(both, workdir)


def test_a_failure_on_one_host_ends_both_and_names_it(short, tmp_path):
  workdir = tmp_path / 'failed'
  found = starting.ended(starting.pair([f'--workdir={workdir}', *short], 'tests.pods.planted'), 300)
  assert [code for code, _ in found] == [2, 2]
  assert 'Error: The planted disk is full.' in found[1][1]
  assert 'Process 1 failed, so all have ended: The planted disk is full.' in found[0][1]
  assert all('Traceback' not in errors for _, errors in found), found


def test_a_stop_of_one_stops_both_after_the_same_step(short, both, tmp_path):
  workdir = tmp_path / 'stopped'
  arguments = [f'--workdir={workdir}', *short, '--config.checkpoint.every=100']
  processes = starting.pair(arguments)
  wait_for(workdir, 1, processes)
  processes[1].send_signal(signal.SIGTERM)
  found = starting.ended(processes, 300)
  assert [code for code, _ in found] == [130, 130], found
  steps = [path.parent.name for path in (workdir / 'checkpoints').glob('step=*/manifest.json')]
  assert len(steps) == 1 and all(f'after step {steps[0][5:]} of 3' in errors for _, errors in found)
  assert [code for code, _ in starting.ended(starting.pair(arguments))] == [0, 0]
  check_same(both, workdir, (*NOT_COMPARED, 'audit/'))  # which goes by the checkpoints


def test_what_two_began_one_ends(short, both, tmp_path):
  workdir = tmp_path / 'other'
  shutil.copytree(both, workdir)
  shutil.rmtree(workdir / 'checkpoints' / 'step=3')
  ((code, errors),) = starting.ended([starting.start([f'--workdir={workdir}', *short])])
  assert code == 0 and 'Resuming' in errors, errors
  check_same(both, workdir)


def test_engines_of_two_processes_give_the_tokens_of_one_device(tmp_path):
  port, script = starting.free_port(), pathlib.Path(__file__).with_name('engine.py')
  outs = [tmp_path / str(process) for process in range(2)]
  processes = [
    subprocess.Popen(
      [sys.executable, str(script), str(port), str(process), str(out)],
      env=starting.environment(4),
      stderr=subprocess.PIPE,
      text=True,
    )
    for process, out in enumerate(outs)
  ]
  for code, errors in starting.ended(processes):
    assert code == 0, errors
  parts = [json.loads(out.read_text()) for out in outs]
  assert all(parts)
  found = {(i, sample): (tokens, logp) for part in parts for i, sample, tokens, logp in part}
  one = test_mesh.run(test_mesh.DENSE, test_mesh.SIZES, None)
  assert found.keys() == one.keys()
  for key, sample in one.items():
    np.testing.assert_array_equal(found[key][0], sample.tokens)
    np.testing.assert_allclose(found[key][1], sample.logp_full, atol=1e-5)
