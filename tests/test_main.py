"""The entry point as a user starts it: a short run end to end, resumption, and what mistakes print."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from llmi_jax.data import rollouts, tasks
from llmi_jax.data.builtin import generate
from llmi_jax.sinks import trace

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / 'configs' / 'grpo_tiny.py')


@pytest.fixture(scope='session')
def short(tmp_path_factory):
  """Arguments that make a run of seconds; the policy, tools and judges are the real ones."""
  few = tmp_path_factory.mktemp('tasks') / 'few.parquet'
  tasks.save(generate.tasks('test')[:6], few)
  values = {
    'steps': 4,
    'data.prompts': 2,
    'data.samples': 4,
    'data.eval': few,
    'eval.samples': 2,
    'optimizer.widths': '(160,)',
    'checkpoint.every': 1,
  }
  return [f'--config.{key}={value}' for key, value in values.items()]


def start(workdir, *arguments, config=CONFIG):
  command = [sys.executable, '-m', 'llmi_jax.main', f'--config={config}', f'--workdir={workdir}', *arguments]
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
  _, errors = process.communicate(timeout=600)
  return process.returncode, errors


@pytest.fixture(scope='session')
def trained(short, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'whole'
  code, errors = finish(start(workdir, *short))
  assert code == 0, errors
  (workdir.parent / 'said').write_text(errors)
  return workdir


@pytest.mark.slow
def test_a_run_says_what_it_does_and_how_to_go_on(trained):
  text = (trained.parent / 'said').read_text()
  lines = text.splitlines()
  assert '\x1b' not in text and '\r' not in text
  assert 'steps=4 (120)' in next(line for line in lines if line.startswith('Differs from '))
  assert next(line for line in lines if line.startswith('Each step: ')).startswith(
    'Each step: 2 prompts × 4 samples per prompt = 8 samples → micro-batches of 8 samples × 1 device '
  )
  steps = [line for line in lines if line.startswith('step ')]
  assert [line.split()[1] for line in (steps[0], steps[-1])] == ['1/4', '4/4']
  assert all(len(line) <= 160 and 'ETA' in line for line in steps)
  ending = dict(line.split(':', 1) for line in lines[-8:])
  assert ending['Run'].strip() == str(trained) and ending['Resume'].strip() == 'nothing is left to do'
  assert 'llmi_jax.view' in ending['View'] and 'llmi_jax.export' in ending['Export']
  (start,) = [json.loads(line) for line in (trained / 'starts.jsonl').read_text().splitlines()]
  assert start['versions']['jax'] and start['command'][:3] == ['python', '-m', 'llmi_jax.main']


def test_a_run_leaves_a_timeline_of_device_tools_and_judges(trained):
  (file,) = (trained / 'trace' / 'process=0').iterdir()
  events = [event for event in trace.read(file) if event['ph'] == 'X']
  lanes = {event['cat'] for event in events}
  assert {'device', 'tool search', 'judge llm', 'judge mllm'} <= lanes
  assert {event['args']['step'] for event in events} == {1, 2, 3, 4}
  known = {row.id for row in rollouts.read(trained / 'rollouts' / 'train')}
  named = {event['args'].get('rollout') for event in events} - {None}
  assert named and named <= known


def summary(workdir):
  return json.loads((workdir / 'summary.json').read_text())


def test_a_run_writes_what_it_promises(trained):
  found = summary(trained)
  assert found.keys() >= {'eval_before', 'eval_after', 'steps', 'seconds', 'params'}
  wanted = {'reward', 'rule', 'llm', 'mllm', 'valid_tag_rate', 'image_rule_rate', 'tool_accuracy'}
  assert found['eval_after'].keys() >= wanted | {'n_tasks', 'n_unscorable'}
  assert (found['steps'], found['eval_after']['n_tasks'], found['eval_after']['n_samples']) == (4, 6, 12)
  lines = [json.loads(line) for line in (trained / 'metrics.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [1, 2, 3, 4]
  names = {f'reward/{part}' for part in ('mean', 'rule', 'llm', 'mllm')}
  names |= {
    f'tools/{tool}/{what}'
    for tool in ('search', 'code', 'edit', 'diffusion')
    for what in ('calls', 'success_rate')
  }
  names |= {'rollout/tokens', 'rollout/length_mean', 'loss/policy', 'grad_norm'}
  names |= {f'time/{kind}' for kind in ('prefill', 'decode', 'tools', 'judge', 'update', 'idle', 'step')}
  assert lines[0].keys() >= names
  assert {path.name for path in trained.iterdir()} >= {
    'config.json',
    'report.html',
    'tb',
    'images',
    'journal',
  }
  kept = list(rollouts.read(trained / 'rollouts' / 'train'))
  assert len(kept) == 4 * 8 and all(row.reward is not None for row in kept)
  assert pq.read_table(rollouts.files(trained / 'rollouts' / 'eval')[0]).num_rows == 12


def test_groups_have_no_mean_advantage(trained):
  rows = list(rollouts.read(trained / 'rollouts' / 'train'))
  assert len(rows) == 32
  for at in range(0, len(rows), 4):
    assert abs(sum(row.advantage for row in rows[at : at + 4])) < 1e-4


@pytest.fixture(scope='session')
def stopped(short, tmp_path_factory):
  """A run that was asked to stop after its first step, then started again by the same command."""
  workdir = tmp_path_factory.mktemp('run') / 'stopped'
  process = start(workdir, *short)
  wait_for_step(workdir, 1, process)
  process.send_signal(signal.SIGTERM)
  code, errors = finish(process)
  again = finish(start(workdir, *short))
  return workdir, code, errors, again


def wait_for_step(workdir, step, process):
  metrics = workdir / 'metrics.jsonl'
  while process.poll() is None:
    if metrics.exists() and metrics.read_text().count('\n') >= step:
      return
    time.sleep(0.05)
  raise AssertionError(process.stderr.read())


def test_sigterm_leaves_cleanly_and_the_same_command_goes_on_to_the_same_bits(stopped, trained):
  workdir, code, errors, (code_again, errors_again) = stopped
  assert code == 130 and 'Stopped after step' in errors and 'Traceback' not in errors
  assert f'Report:  {workdir}/report.html' in errors and 'Resume:  python -m llmi_jax.main' in errors
  assert code_again == 0 and 'Resuming' in errors_again, errors_again
  assert summary(workdir)['digest'] == summary(trained)['digest']


@pytest.mark.slow
def test_kill_at_three_random_moments_ends_in_the_same_bits(short, trained, tmp_path):
  rng = random.Random(0)
  workdir = tmp_path / 'killed'
  for step in (0, 1, 3):
    process = start(workdir, *short)
    if step:
      wait_for_step(workdir, step, process)
    time.sleep(rng.uniform(0.1, 2.0))
    process.kill()
    finish(process)
  code, errors = finish(start(workdir, *short))
  assert code == 0, errors
  assert summary(workdir)['digest'] == summary(trained)['digest']
  steps = [json.loads(line)['step'] for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  assert steps == [1, 2, 3, 4]


def mistake(tmp_path, *arguments):
  """Exit code and what a run with a mistake prints."""
  code, errors = finish(start(tmp_path / 'mistake', *arguments))
  said = [line for line in errors.splitlines() if line.startswith('Error: ')]
  assert code == 2 and len(said) == 1 and 'Traceback' not in errors, errors
  return said[0]


def test_a_task_file_without_a_column_names_file_and_column(tmp_path):
  table = pq.read_table(_saved(tmp_path)).drop_columns(['extra_info'])
  pq.write_table(table, tmp_path / 'bad.parquet')
  said = mistake(tmp_path, f'--config.data.train={tmp_path / "bad.parquet"}')
  assert 'bad.parquet' in said and "no column 'extra_info'" in said
  assert not (tmp_path / 'mistake').exists()


def _saved(tmp_path):
  tasks.save(generate.tasks('test')[:2], tmp_path / 'two.parquet')
  return tmp_path / 'two.parquet'


def test_a_tokenizer_of_another_policy_is_refused(tmp_path):
  folder = shutil.copytree(ROOT / 'llmi_jax' / 'assets' / 'tiny', tmp_path / 'policy')
  merged = json.loads((folder / 'tokenizer.json').read_text())
  merged['model']['merges'].pop()
  (folder / 'tokenizer.json').write_text(json.dumps(merged))
  said = mistake(tmp_path, f'--config.policy.path={folder}')
  assert 'is not the one its policy was trained with' in said
  assert not (tmp_path / 'mistake').exists()


def test_a_folder_of_another_config_is_refused(trained, short):
  code, errors = finish(start(trained, *short, '--config.seed=9'))
  assert code == 2 and 'seed was 0 and is 9' in errors


def test_corrupt_checkpoints_are_named(trained, short, tmp_path):
  workdir = shutil.copytree(trained, tmp_path / 'corrupt')
  for path in workdir.glob('checkpoints/step=*/meta.json'):
    path.write_text(path.read_text().replace('seconds', 'secondz'))
  code, errors = finish(start(workdir, *short))
  assert code == 2 and 'meta.json is corrupt and no older checkpoint is whole' in errors
  assert 'Traceback' not in errors


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(short, tmp_path):
  disk = tmp_path / 'disk'
  disk.mkdir()
  inside = f'mount -t tmpfs -o size=3m tmpfs {disk} && exec "$@"'
  command = [
    'unshare',
    '--user',
    '--map-root-user',
    '--mount',
    'sh',
    '-c',
    f'{inside}; ls -R {disk} >&2',
    'sh',
  ]
  run = [sys.executable, '-m', 'llmi_jax.main', f'--config={CONFIG}', f'--workdir={disk / "run"}', *short]
  done = subprocess.run([*command, *run], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
  assert done.returncode == 2 and 'Error: ' in done.stderr and 'cannot be written' in done.stderr, done.stderr
  assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('name', [pytest.param('cat.html', marks=pytest.mark.slow), 'cat.md'])
def test_generate_answers_a_prompt_that_is_in_no_split(trained, tmp_path, name):
  command = [sys.executable, '-m', 'llmi_jax.generate', f'--policy={trained}', f'--out={tmp_path / name}']
  prompt = '--prompt=Show a curious owl in real life, with one picture.'
  done = subprocess.run(
    [*command, prompt], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
  )
  assert done.returncode == 0, done.stderr
  page = (tmp_path / name).read_text()
  assert 'curious owl' in page and ('Content-Security-Policy' in page) == name.endswith('.html')
