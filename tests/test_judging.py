"""Training with judges over the chat protocol: real processes, real sockets, faults of every kind."""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from llmi_jax import front, judging, rewarding
from llmi_jax.core.answer import Answer, Prose
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import ImageRule, Message, Task, TextPart
from llmi_jax.data import rollouts, tasks
from llmi_jax.data.builtin import generate
from llmi_jax.main import FREE
from llmi_jax.rl.advantages import advantages
from llmi_jax.rollout.episode import Place
from tests.doubles.chat import Act, ChatServer, texts

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / 'configs' / 'grpo_tiny.py')
TASK = Task('t', (Message('user', (TextPart('Speak of rivers.'),)),), 'Speak of rivers.', ImageRule('free'))
ANSWER = Answer('t', (Prose('A river runs from its source to the sea.'),))


def reward(*overrides, urls=(), held_out=()):
  values = {'judges': 'remote', 'remote.held_out.urls': held_out}
  values |= {f'remote.{name}.urls': urls for name in ('llm', 'mllm')}
  lines = [f'--config.reward.{key}={value}' for key, value in values.items()]
  return front.read(CONFIG, [*lines, *(f'--config.reward.{one}' for one in overrides)]).reward


def grade(body, _):
  text = texts(body)
  code = text.split('BEGIN ANSWER ')[1].split()[0]
  names = [line.split(':')[0] for line in text.splitlines() if ': one of' in line]
  return Act(text=f'VERDICT {code}\n' + '\n'.join(f'{name}: 4' for name in names))


def opened(work, *overrides, held_out=False):
  async def main():
    async with ChatServer(grade) as server:
      config = reward(*overrides, urls=(server.url,), held_out=(server.url,) if held_out else ())
      async with judging.bench(config, None, None) as bench:
        return await work(bench), server

  return asyncio.run(main())


def test_a_bench_has_a_seat_per_judge_and_vote():
  async def work(bench):
    at = Place('train', 0, 0)
    verdicts = await asyncio.gather(*(judge(TASK, ANSWER, at) for judge in bench.judges))
    return [(v.judge, v.vote, v.status) for v in verdicts], bench.gauges(), bench.held_out

  (seats, gauges, held_out), server = opened(work, 'remote.llm.votes=3', held_out=True)
  assert seats == [
    ('llm', 0, 'scored'),
    ('llm', 1, 'scored'),
    ('llm', 2, 'scored'),
    ('mllm', 0, 'not_applicable'),
    ('held_out', 0, 'scored'),
  ]
  assert held_out == ('held_out',) and len(server.requests) == 4
  assert gauges['calls/llm/asked'] == 3 and gauges['calls/held_out/breakers_open'] == 0


def test_an_examination_tells_the_panel_and_the_canaries():
  figures, _ = opened(lambda bench: bench.examine(7))
  assert figures['panel/llm/ranked'] <= 0.25 and figures['panel/mllm/ranked'] == 0  # this one likes all alike
  assert figures['canaries/mllm/accepted'] == 1 and 0 < figures['canaries/llm/accepted'] < 1  # some are gated


@pytest.mark.parametrize(
  ('overrides', 'said'),
  [
    (('judges=distant',), 'known are offline, remote, local and paths of .py files'),
    (('judges=distant.py',), 'distant.py does not exist'),
    ((), 'remote.llm.urls is empty'),
    (('remote.llm.urls=("http://127.0.0.1:9/v1",)',), 'remote.mllm.urls is empty'),
    (('remote.llm.urls=("http://127.0.0.1:9/v1",)', 'mllm=0'), 'The judge llm cannot be used'),
    (('remote.llm.urls=("nowhere",)', 'mllm=0'), 'is no base URL'),
    (('remote.llm.urls=("http://a",)', 'mllm=0', 'remote.llm.key_env=NO_SUCH_KEY'), 'NO_SUCH_KEY is not set'),
    (('remote.llm.urls=("http://a",)', 'mllm=0', 'remote.llm.form=xml'), 'lines and json'),
    (('remote.llm.urls=("http://a",)', 'mllm=0', 'remote.llm.votes=0'), 'votes'),
    (('remote.llm.urls=("http://a",)', 'mllm=0', 'remote.llm.gates=("x",)'), "no gate 'x'"),
  ],
)
def test_mistakes_are_told_at_the_start(overrides, said):
  async def main():
    async with judging.bench(reward(*overrides), None, None):
      pass

  with pytest.raises(ConfigError) as raised:
    asyncio.run(main())
  assert said in str(raised.value)


def test_presets_and_free_rewards_are_read():
  assert rewarding.reward(reward('preset=released')).form.no_image == 'released'
  free = rewarding.reward(reward('gate=all', 'extra.r_tool=0.1'))
  assert (free.gate, dict(free.extra)) == ('all', {'r_tool': 0.1})
  assert rewarding.reward(front.read(CONFIG, []).reward) == rewarding.reward(reward('preset=paper'))
  with pytest.raises(ConfigError, match='paper, released, free'):
    rewarding.reward(reward('preset=papers'))


class Judge:
  """The judging process of `tests/doubles/judge.py`."""

  def __init__(self, faults=0.0):
    command = [sys.executable, '-m', 'tests.doubles.judge', f'--faults={faults}']
    self._process = subprocess.Popen(
      command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    self.url = self._process.stdout.readline().strip()

  def count(self):
    """Completions that were asked for so far."""
    self._process.stdin.write('count\n')
    self._process.stdin.flush()
    return int(self._process.stdout.readline())

  def close(self):
    self._process.communicate()


@pytest.fixture
def judge(request):
  made = Judge(getattr(request, 'param', 0.0))
  yield made
  made.close()


def start(judge, workdir, *overrides, faults=0.0):
  """A run of seconds with remote judges, and a share of its tool calls failing."""
  few = workdir.parent / 'few.parquet'
  if not few.exists():
    tasks.save(generate.tasks('test')[:6], few)
  values = {
    'steps': 4,
    'data.prompts': 2,
    'data.samples': 4,
    'data.eval': few,
    'eval.samples': 2,
    'optimizer.widths': '(160,)',
    'checkpoint.every': 1,
    'reward.judges': 'remote',
  }
  for name in ('llm', 'mllm'):
    quick = {'seconds': 2.0, 'attempt_seconds': 0.3, 'attempts': 2, 'retry_wait': 0.01}
    values |= {f'reward.remote.{name}.{key}': value for key, value in quick.items()}
    values[f'reward.remote.{name}.urls'] = f'("{judge.url}",)'
  module = ['tests.doubles.tools', str(faults)] if faults else ['llmi_jax.main']
  command = [sys.executable, '-m', *module, f'--config={CONFIG}', f'--workdir={workdir}']
  arguments = [f'--config.{key}={value}' for key, value in values.items()]
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  return subprocess.Popen(
    [*command, *arguments, *overrides], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
  )


def finish(process):
  _, errors = process.communicate(timeout=900)
  assert process.returncode == 0, errors[-3000:]


def summary(workdir):
  return json.loads((workdir / 'summary.json').read_text())


@pytest.mark.slow
def test_a_run_again_with_the_cache_asks_no_judge_and_ends_in_the_same_bits(judge, tmp_path):
  cache = f'--config.reward.cache={tmp_path / "verdicts"}'
  finish(start(judge, tmp_path / 'one', cache))
  asked = judge.count()
  finish(start(judge, tmp_path / 'two', cache))
  assert asked > 50 and judge.count() == asked
  assert summary(tmp_path / 'one')['digest'] == summary(tmp_path / 'two')['digest']
  assert summary(tmp_path / 'one')['eval_before']['panel/llm/good'] == 0.5  # this stand-in does not know them


@pytest.mark.slow
@pytest.mark.parametrize('judge', [0.3], indirect=True)
def test_with_failing_judges_and_tools_it_ends_tells_what_is_left_out_and_resumes(judge, tmp_path):
  finish(start(judge, tmp_path / 'whole', faults=0.3))
  process = start(judge, tmp_path / 'killed', faults=0.3)
  metrics = tmp_path / 'killed' / 'metrics.jsonl'
  while process.poll() is None and not (metrics.exists() and metrics.read_text().count('\n') >= 2):
    time.sleep(0.05)
  process.kill()
  process.communicate()
  finish(start(judge, tmp_path / 'killed', faults=0.3))
  whole = summary(tmp_path / 'whole')
  assert whole['digest'] == summary(tmp_path / 'killed')['digest']

  lines = [json.loads(line) for line in (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()]
  named = {key for line in lines for key in line if key.startswith(('unscorable/', 'judge/'))}
  assert any('/missing/' in key for key in named) and any(key.startswith('unscorable/') for key in named)
  lost = sum(line['rollout/unscorable'] for line in lines)
  rows = list(rollouts.read(tmp_path / 'whole' / 'rollouts' / 'train'))
  assert len(rows) == 32 and lost == sum(row.reward is None for row in rows) > 0
  page = (tmp_path / 'whole' / 'report.html').read_text()
  assert 'Unscorable samples by cause' in page and 'could not be scored' in page
  for at in range(0, len(rows), 4):
    group = rows[at : at + 4]
    kept = [row for row in group if row.reward is not None]
    assert all(row.advantage == 0 for row in group if row.reward is None)
    if len(kept) < 2:
      assert all(row.advantage == 0 for row in kept)
    else:
      alone = np.asarray(advantages(np.array([[row.reward for row in kept]], np.float32)))
      np.testing.assert_allclose([row.advantage for row in kept], alone[0], atol=1e-6)


def test_an_unscorable_sample_does_not_move_its_group():
  scored = np.array([0.2, 0.9, 0.4, 0.7], np.float32)
  with_lost = np.insert(scored, [1, 4], np.nan)[None]
  found = np.asarray(advantages(with_lost))[0]
  assert (found[np.isnan(with_lost[0])] == 0).all()
  np.testing.assert_array_equal(found[~np.isnan(with_lost[0])], np.asarray(advantages(scored[None]))[0])


def test_an_address_may_change_between_parts_of_a_run():
  config = front.read(CONFIG, [])
  stored = config.to_json()
  other = front.read(
    CONFIG,
    ['--config.reward.remote.llm.urls=("http://a/v1",)', '--config.reward.remote.llm.attempts=9',
     '--config.reward.cache=x', '--config.reward.remote.llm.temperature=0.1'],
  )  # fmt: skip
  changed = [d for d in front.difference(other, stored) if not FREE.match(d)]
  assert len(changed) == 1 and 'temperature' in changed[0]
