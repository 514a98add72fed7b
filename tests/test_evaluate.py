"""The command line: exit codes, resumption after a kill, modes of tools, cost, comparison."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from llmi_jax.eval.store import NAME, Store
from tests.eval.running import EXAMPLES

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUTPUTS = EXAMPLES / 'opening' / 'gen_outputs'
CAREFUL, HASTY = OUTPUTS / 'Careful_output', OUTPUTS / 'Hasty_output'
TINY = ('--policy=builtin:tiny', f'--config={ROOT / "configs" / "grpo_tiny.py"}', '--rows=4')


@contextlib.contextmanager
def served(module, *arguments):
  """A server in a process of its own; yields its base URL and a function that counts its calls."""
  process = subprocess.Popen(
    [sys.executable, '-m', module, *arguments],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdin and process.stdout

  def count():
    assert process.stdin and process.stdout
    process.stdin.write('count\n')
    process.stdin.flush()
    return int(process.stdout.readline())

  try:
    yield process.stdout.readline().split()[-1], count
  finally:
    process.kill()
    process.communicate()


def command(*arguments):
  return [sys.executable, '-m', 'llmi_jax.evaluate', *map(str, arguments)]


def run(*arguments):
  done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)
  return done.returncode, done.stdout, done.stderr


def opening(url, workdir, answers=CAREFUL):
  return '--benchmark=opening', f'--answers={answers}', f'--judge={url}', f'--workdir={workdir}'


def test_faulty_files_are_named_the_rest_is_scored_and_the_exit_code_says_so(tmp_path):
  answers = tmp_path / 'X_output'
  shutil.copytree(CAREFUL, answers)
  (answers / '0101001.json').write_text('{')
  shutil.copy(answers / '0101002.json', answers / '9999999.json')
  with served('tests.doubles.grader') as (url, _):
    code, out, err = run(*opening(url, tmp_path / 'work', answers))
  assert code == 3 and '0101001.json:1: is no JSON' in err and '9999999.json:1: answers 9999999' in err
  assert '| all | Overall | ' in out and '| without an answer | 1 |' in out
  assert len((tmp_path / 'work' / 'faults.txt').read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    ((), 'exactly one of --answers'),
    (('--answers=a', '--policy=b'), 'exactly one of --answers'),
    (('--benchmark=opening', '--answers=nowhere', '--judge=http://127.0.0.1:1/v1'), 'cannot be read'),
    (('--benchmark=opening', f'--answers={CAREFUL}'), 'has no address'),
    (('--benchmark=opening', f'--answers={CAREFUL}', '--judge=http://127.0.0.1:1/v1'), 'cannot be used'),
    (('--benchmark=isg', f'--answers={CAREFUL}', '--judge=offline'), 'judges in_domain only'),
    (('--benchmark=arena', f'--answers={CAREFUL}', '--judge=offline'), 'judges in_domain only'),
    (('--compare=x',), 'give two work folders'),
    (('--compare=x', '--compare=y'), 'holds no evaluation'),
    (('--policy=builtin:tiny', '--judge=offline'), 'add --config='),
  ],
)
def test_a_mistake_is_one_sentence(tmp_path, arguments, said):
  code, _, err = run(*arguments, f'--workdir={tmp_path}')
  assert code == 2 and said in err and 'Traceback' not in err


@pytest.mark.slow
def test_a_kill_costs_no_second_call_and_changes_no_table(tmp_path):
  with served('tests.doubles.grader', '--seconds=0.4') as (url, count):
    arguments = (*opening(url, tmp_path / 'killed'), '--judge_calls=2', '--at_once=2')
    process = subprocess.Popen(
      command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while count() < 4:
      time.sleep(0.05)
    time.sleep(0.5)  # the first replies are kept, others are under way
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = count()
    kept = _replies(tmp_path / 'killed')
    assert 0 < kept < 8
    code, table, _ = run(*arguments)
    # What was under way when it was killed is the only thing that is asked again.
    assert code == 0 and count() - made == 8 - kept
    again = count()
    assert run(*arguments)[1] == table and count() == again
    whole = run(*opening(url, tmp_path / 'whole'))[1]
  assert table.replace('killed', 'whole') == whole


def _replies(workdir):
  store = Store(workdir, read_only=True)
  try:
    return store.counts()['replies']
  finally:
    store.close()


@pytest.mark.slow
def test_a_policy_answers_and_tools_are_taken_away(tmp_path):
  calls = {}
  for tools in ('offered', 'absent', 'refused'):
    folder = tmp_path / tools
    code, out, err = run(
      *TINY, '--judge=offline', f'--tools={tools}', '--temperature=0', f'--workdir={folder}'
    )
    assert code == 0, err
    rows = [json.loads(line) for line in (folder / 'in_domain.jsonl').read_text().splitlines()]
    assert len(rows) == 8
    calls[tools] = {name: [row['tools'].get(name, [0, 0]) for row in rows] for name in ('search', 'code')}
    assert f'| tools | {tools} |' in out
  ok = lambda tools: sum(pair[0] for counts in calls[tools].values() for pair in counts)
  tried = lambda tools: sum(pair[1] for counts in calls[tools].values() for pair in counts)
  assert ok('offered') > 0 and ok('absent') == ok('refused') == 0 and tried('refused') > 0
  # Refused calls change nothing of what is written: the same prompts, the same tokens.
  texts = lambda tools: [
    json.loads(line)['answer'] for line in (tmp_path / tools / 'in_domain.jsonl').read_text().splitlines()
  ]
  assert texts('offered') == texts('refused') != texts('absent')
  code, out, _ = run(f'--compare={tmp_path / "offered"}', f'--compare={tmp_path / "refused"}')
  assert code == 0 and '| tool_success | -' in out
  # Another setting in the same folder is refused.
  code, _, err = run(*TINY, '--judge=offline', '--temperature=1', f'--workdir={tmp_path / "offered"}')
  assert code == 2 and 'choose another --workdir' in err


@pytest.mark.slow
def test_a_policys_pictures_become_the_benchmarks_own_files(tmp_path):
  with served('tests.doubles.grader') as (url, count):
    arguments = ('--benchmark=opening', *TINY, '--prompt_tokens=512', '--hint=on', f'--judge={url}')
    code, out, err = run(*arguments, f'--workdir={tmp_path}', '--temperature=0')
    assert code == 0, err
    assert '| step hint | on |' in out
    first = count()
    assert run(*arguments, f'--workdir={tmp_path}', '--temperature=0')[1] == out and count() == first
    # What was written is judged as a foreign folder.
    foreign = tmp_path / 'gen_outputs' / 'tiny_output'
    assert len(list(foreign.glob('*.json'))) == 8
    assert run(*opening(url, tmp_path / 'again', foreign))[0] == 0


@pytest.mark.slow
def test_a_remote_model_is_told_of_our_tools_and_asked_once(tmp_path):
  with served('tests.doubles.grader') as (judge, count):
    with served('tests.doubles.grader') as (url, asked):
      config = TINY[1]
      arguments = (
        '--benchmark=llmi_bench',
        f'--remote={url}',
        config,
        f'--judge={judge}',
        f'--workdir={tmp_path}',
      )
      code, out, err = run(*arguments)
      assert code == 0, err
      assert asked() == 8 and count() > 8
      made = count()
      assert run(*arguments)[1] == out and (asked(), count()) == (8, made)


@pytest.mark.slow
def test_a_judge_that_is_our_own_server_speaks_every_protocol(tmp_path):
  """The tiny policy cannot judge: every reply must be missing, and the exit code says so."""
  port = 18473
  server = subprocess.Popen(
    [
      *(sys.executable, '-m', 'llmi_jax.serve.chat', '--policy=builtin:tiny', f'--port={port}'),
      *('--prompt_tokens=8192', '--response_tokens=24', '--rows=4'),
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert server.stdout
    url = server.stdout.readline().split()[-1]
    for name, answers in (
      ('opening', (CAREFUL,)),
      ('arena', (f'A={CAREFUL}', f'B={HASTY}')),
      ('isg', (EXAMPLES / 'isg' / 'careful.jsonl',)),
      ('llmi_bench', (EXAMPLES / 'llmi_bench' / 'careful.jsonl',)),
    ):
      given = [f'--answers={one}' for one in answers]
      more = ['--rounds=1'] if name == 'arena' else []
      code, _, err = run(
        f'--benchmark={name}', *given, *more, f'--judge={url}', f'--workdir={tmp_path / name}', '--limit=3'
      )
      assert code == 3, (name, err)
      store = Store(tmp_path / name, read_only=True)
      said = [one for item in store.items() for one in item.said]
      store.close()
      assert said and all(one.missing and not one.values for one in said if not one.spared), name
  finally:
    server.kill()
    server.communicate()


@pytest.mark.slow
def test_a_dry_run_says_what_it_would_cost_and_calls_nobody(tmp_path):
  arguments = ('--benchmark=isg', f'--answers={EXAMPLES / "isg" / "careful.jsonl"}', f'--workdir={tmp_path}')
  code, out, _ = run(*arguments, '--dry_run', '--price_prompt=2', '--price_reply=8')
  assert code == 0 and '8 records, 0 answers to be made' in out and 'at these prices' in out
  assert not (tmp_path / NAME).exists()
  with served('tests.doubles.grader') as (url, count):
    assert run(*arguments, f'--judge={url}')[0] == 0
    said = int(out.split('\n')[1].split()[0])
    assert count() <= said <= count() + 3  # questions that others presuppose


@pytest.mark.slow
def test_two_runs_of_different_modes_are_not_compared(tmp_path):
  with served('tests.doubles.grader') as (url, _):
    for mode in ('fixed', 'repo'):
      assert run(*opening(url, tmp_path / mode), f'--mode={mode}')[0] == 0
    assert run(*opening(url, tmp_path / 'hasty', HASTY))[0] == 0
  code, _, err = run(f'--compare={tmp_path / "fixed"}', f'--compare={tmp_path / "repo"}')
  assert code == 2 and 'do not belong in one table' in err
  code, out, _ = run(f'--compare={tmp_path / "fixed"}', f'--compare={tmp_path / "hasty"}')
  assert code == 0 and '| Correctness | ' in out and '| 8 |' in out


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_judged(tmp_path):
  with served('tests.doubles.grader', '--seconds=0.5') as (url, count):
    arguments = (*opening(url, tmp_path), '--judge_calls=1', '--at_once=1')
    process = subprocess.Popen(command(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while count() < 2:
      time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'the same command goes on' in err
    assert run(*arguments)[0] == 0 and count() == 8


@pytest.mark.slow
def test_a_runs_policy_is_compared_with_itself_before_training(tmp_path):
  run_folder, config = tmp_path / 'run', ROOT / 'configs' / 'grpo_tiny.py'
  values = {
    'steps': 1,
    'data.prompts': 2,
    'data.samples': 4,
    'data.eval': EXAMPLES / 'in_domain' / 'test.parquet',
  }
  values |= {
    'eval.samples': 1,
    'optimizer.widths': '(160,)',
    'optimizer.warmup': 0,
    'optimizer.learning_rate': 0.01,
  }
  given = [f'--config.{key}={value}' for key, value in values.items()]
  train = [sys.executable, '-m', 'llmi_jax.main', f'--config={config}', f'--workdir={run_folder}', *given]
  subprocess.run(train, cwd=ROOT, check=True, capture_output=True, timeout=600)
  texts = {}
  for name, flags in (('after', ()), ('before', ('--untrained',))):
    arguments = (
      f'--policy={run_folder}',
      '--judge=offline',
      '--temperature=0',
      f'--workdir={tmp_path / name}',
    )
    code, out, err = run(*arguments, *flags)
    assert code == 0, err
    assert f'| answers from | run{"-untrained" if flags else ""} |' in out
    rows = (tmp_path / name / 'in_domain.jsonl').read_text().splitlines()
    texts[name] = [json.loads(row)['answer'] for row in rows]
  assert texts['before'] != texts['after']
  code, out, _ = run(f'--compare={tmp_path / "before"}', f'--compare={tmp_path / "after"}')
  assert code == 0 and '| reward | ' in out and '| 8 |' in out
