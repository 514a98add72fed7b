"""A tiny Qwen2.5-VL of random weights judges a run: behind our chat server in another process, or here.

Sockets and pictures are real. It can give no verdict that can be read: so nothing is scored, nothing is
learned, and the run says why it ends.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest

from llmi_jax import front, wiring
from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.data import rollouts, tasks
from llmi_jax.data.builtin import generate
from llmi_jax.update import state as states
from tests.doubles import seeing
from tests.test_judging import Judge

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / 'configs' / 'grpo_tiny.py')
ENVIRONMENT = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
UNUSABLE = 3


@pytest.fixture(scope='module')
def sighted(tmp_path_factory):
  folder = tmp_path_factory.mktemp('seeing')
  seeing.make(folder)
  return folder


class Server:
  """`llmi_jax.serve.chat` over a folder."""

  def __init__(self, folder):
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      port = free.getsockname()[1]
    flags = {'policy': folder, 'port': port, 'rows': 8, 'prompt_tokens': 8000, 'response_tokens': 16}
    command = [sys.executable, '-m', 'llmi_jax.serve.chat', *(f'--{k}={v}' for k, v in flags.items())]
    self._process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    self.place = f'http://127.0.0.1:{port}'
    self.url = f'{self.place}/v1'
    for _ in range(600):
      try:
        self.counts()
        return
      except urllib.error.URLError:
        assert self._process.poll() is None, self._process.communicate()[1]
        time.sleep(0.2)
    raise AssertionError('The server does not come up.')

  def counts(self):
    with urllib.request.urlopen(f'{self.place}/metrics', timeout=60) as reply:
      found = re.findall(r'^llmi_jax_(\w+)_total (\d+)$', reply.read().decode(), re.M)
    return {name: int(value) for name, value in found}

  def close(self):
    self._process.terminate()
    self._process.communicate(timeout=60)


@pytest.fixture(scope='module')
def server(sighted):
  made = Server(sighted)
  yield made
  made.close()


def train(workdir, *overrides):
  """Exit code and what a run of seconds prints as errors."""
  few = workdir.parent / 'few.parquet'
  tasks.save(generate.tasks('test')[:2], few)
  values = {
    'steps': UNUSABLE + 1,
    'unusable': UNUSABLE,
    'data.prompts': 2,
    'data.samples': 2,
    'data.eval': few,
    'eval.samples': 1,
    'optimizer.widths': '(160,)',
    'checkpoint.every': 1,
  }
  for name in ('llm', 'mllm', 'held_out'):
    patient = {'tokens': 16, 'seconds': 400.0, 'attempt_seconds': 400.0, 'canaries': 5}
    values |= {f'reward.remote.{name}.{key}': value for key, value in patient.items()}
  command = [sys.executable, '-m', 'llmi_jax.main', f'--config={CONFIG}', f'--workdir={workdir}']
  arguments = [f'--config.{key}={value}' for key, value in values.items()]
  done = subprocess.run(
    [*command, *arguments, *(f'--config.reward.{one}' for one in overrides)],
    cwd=ROOT,
    env=ENVIRONMENT,
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )
  return done.returncode, done.stderr


def check_nothing_was_scored_and_nothing_learned(workdir, code, errors):
  assert code == 2 and 'Traceback' not in errors, errors[-3000:]
  assert f'Error: {UNUSABLE} steps in a row could not be used' in errors
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [1, 2, 3]
  named = {key for line in lines for key in line if re.match(r'judge/m?llm/', key)}
  assert any(key.startswith('judge/llm/missing/') for key in named), named
  assert any(key.startswith('judge/mllm/missing/') for key in named), named
  rows = list(rollouts.read(workdir / 'rollouts' / 'train'))
  assert len(rows) == 4 * UNUSABLE
  spared = 0
  for row in rows:
    # What a gate before the text judge answered was no model's.
    spared += any(v.model == 'gate' for v in row.verdicts)
    for verdict in row.verdicts:
      assert verdict.status != 'scored' or verdict.model == 'gate', verdict
      if verdict.status == 'missing':
        assert verdict.reason.partition(':')[0] in ('no_verdict', 'truncated', 'foreign_code', 'incomplete')
        assert verdict.raw
  assert all(row.reward is None and row.advantage == 0 for row in rows) and spared < len(rows)
  policy = wiring.load_policy('builtin:tiny')
  config = front.read(CONFIG, [f'--config.steps={UNUSABLE + 1}'])
  fresh = states.fresh(policy.model, wiring.optimizer(config))
  found = Checkpoints(workdir / 'checkpoints').restore(abstract(fresh))
  assert found.step == UNUSABLE and int(found.state.skipped) == found.step
  for kept, first in zip(jax.tree.leaves(found.state.params), jax.tree.leaves(policy.model), strict=True):
    np.testing.assert_array_equal(kept, first)


def test_as_both_judges_in_another_process(server, tmp_path):
  before = server.counts()
  urls = (f'remote.{name}.urls=("{server.url}",)' for name in ('llm', 'mllm'))
  check_nothing_was_scored_and_nothing_learned(
    tmp_path / 'run', *train(tmp_path / 'run', 'judges=remote', *urls)
  )
  counts = {name: value - before[name] for name, value in server.counts().items()}
  shown = list(rollouts.read(tmp_path / 'run' / 'rollouts' / 'train'))
  judged = sum(v.judge == 'mllm' and v.status == 'missing' for row in shown for v in row.verdicts)
  # Every question of the picture judge, and each once more after a reply that could not be read.
  assert counts['prompts_with_pictures'] >= 2 * judged > 0
  assert counts['pictures'] >= counts['prompts_with_pictures'] and counts['refused'] == 0
  assert counts['image_tokens'] >= 16 * counts['pictures']


def test_as_both_judges_in_the_same_process(sighted, tmp_path):
  local = ('judges=local', f'local.path={sighted}', 'local.prompt_tokens=8000')
  check_nothing_was_scored_and_nothing_learned(tmp_path / 'run', *train(tmp_path / 'run', *local))


def test_held_out_beside_judges_that_score_the_run_goes_on(server, tmp_path):
  judge = Judge()
  try:
    urls = [f'remote.{name}.urls=("{judge.url}",)' for name in ('llm', 'mllm')]
    before = server.counts()
    code, errors = train(tmp_path / 'run', 'judges=remote', *urls, f'remote.held_out.urls=("{server.url}",)')
    assert code == 0, errors[-3000:]
    assert server.counts()['requests'] > before['requests']
  finally:
    judge.close()
  summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert summary['steps'] == UNUSABLE + 1 and summary['skipped'] == 0
  lines = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
  assert any(key.startswith('judge/held_out/missing/') for line in lines for key in line)
  rows = list(rollouts.read(tmp_path / 'run' / 'rollouts' / 'train'))
  assert all(row.reward is not None for row in rows)
  assert not any(
    v.status == 'scored' and v.model != 'gate' for r in rows for v in r.verdicts if v.judge == 'held_out'
  )
