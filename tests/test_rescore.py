"""Rewards of stored rollouts, recomputed without a judge; policies that game them."""

import asyncio
import dataclasses
import random

import pytest

from experiments.hacking.documents import POLICIES
from experiments.hacking.run import answers, rewards, signs
from llmi_jax import rescore, rewarding
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.core.verdict import Verdict
from llmi_jax.data import photographs, rollouts
from llmi_jax.data.builtin import generate
from llmi_jax.data.demonstrations import Flaws, demonstrate
from llmi_jax.rewards.presets import PRESETS, Preset
from llmi_jax.rollout import watch
from llmi_jax.rollout.watch import Watch
from llmi_jax.tools.edit import edit_tool
from llmi_jax.tools.registry import Registry, Tool
from llmi_jax.tools.search import search_tool
from tests.judges.conftest import CODE, DIFFUSION, noise


@pytest.fixture(scope='module')
def registry():
  """The real search and edit; a stand-in draws and paints, since nothing here looks at the pictures."""
  drawn = [Tool(spec, noise, cached=False) for spec in (CODE, DIFFUSION)]
  return Registry([search_tool(photographs.load()), *drawn, edit_tool()])


@pytest.fixture(scope='module')
def trajectories(registry):
  """Two groups of four answers, some flawed, one with a lost judge and one with a lost tool."""
  chosen, found = generate.tasks('test')[3:60:30], []
  for sample in range(4):
    write = lambda task, rng, n=sample: demonstrate(task, random.Random(n), flaws=Flaws(0.5, 0.5, 0.3, 0.5))
    made = asyncio.run(answers(registry, chosen, write))
    if sample == 1:
      lost = Verdict('llm', 'missing', reason='server: 503')
      verdicts = (lost, *made[0].answer.verdicts[1:])
      made[0] = dataclasses.replace(made[0], answer=dataclasses.replace(made[0].answer, verdicts=verdicts))
    for one, parts, total in zip(made, *rewards(made, PRESETS['paper'])):
      answer = dataclasses.replace(one.answer, reward=parts)
      found.append(Trajectory(one.task, sample, (), answer, 5, reward=total))
  return found


@pytest.fixture(scope='module')
def stored(trajectories, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  rollouts.write(workdir, 'train', 5, trajectories, PRESETS['paper'].weights)
  return workdir


def recomputed(stored, preset):
  return list(rescore.recompute(rollouts.read(stored / 'rollouts'), preset))


def test_the_same_reward_is_recomputed_exactly(stored):
  changes = recomputed(stored, PRESETS['paper'])
  assert len(changes) == 8 and sum(c.reward is None for c in changes) == 1
  assert [c.reward for c in changes] == [c.rollout.reward for c in changes]
  for change in changes:
    assert [(t.name, t.value) for t in (change.parts.rule, change.parts.llm, change.parts.mllm)] == [
      (p.name, p.value) for p in change.rollout.parts
    ]
    assert change.parts.diagnostics == change.rollout.diagnostics
  assert all(group.tau in (None, 1.0) for group in rescore.groups(changes))


@pytest.mark.parametrize('preset', [PRESETS['released'], Preset(gate='all'), Preset(1.0, 0.0, 0.0)])
def test_another_reward_equals_the_one_computed_from_the_answers(stored, trajectories, preset):
  parts = [rescore.parts.reward_parts(t.task, t.answer, preset.form) for t in trajectories]
  wanted = rewarding.totals(preset)(parts)
  assert [c.reward for c in recomputed(stored, preset)] == wanted
  if preset.form.missing == 'lowest' or not preset.llm:
    assert None not in wanted


def test_a_run_that_goes_on_audits_the_samples_that_one_without_a_stop_would(trajectories, tmp_path):
  steps = [[dataclasses.replace(t, step=step) for t in trajectories] for step in range(3)]
  through, again = Watch(4, most=20), Watch(4, most=20)
  for step, some in enumerate(steps):
    assert through(step, list(map(watch.sample, some))) == {}
    rollouts.write(tmp_path, 'train', step + 1, some, PRESETS['paper'].weights)
  again.recall(tmp_path)
  assert list(again._samples) == list(through._samples) and len(again._samples) == 20
  last = list(map(watch.sample, trajectories))
  assert again(3, last) == through(3, last) != {}


def test_tables_name_what_changes(stored):
  changes = recomputed(stored, Preset(1.0, 0.0, 0.0, extra={'r_tool': 0.5}))
  lines = rescore.table(changes)
  assert '1 → 0' in lines[-1] and len(lines) == 3
  ranked = rescore.rankings(rescore.groups(changes), 50)
  assert ranked[0].startswith('2 groups') and all('τ' in line for line in ranked)
  assert 'Audit' in rescore.signs(changes)[0]


def test_a_call_lost_to_the_environment_is_read_from_the_file(trajectories, tmp_path):
  first = next(t for t in trajectories if t.answer.outcomes)
  gone = ToolOutcome('unavailable', 'environment', tool='search', error='down')
  lose = lambda part: dataclasses.replace(part, outcome=gone) if getattr(part, 'outcome', None) else part
  parts = tuple(map(lose, first.answer.parts))
  lost = dataclasses.replace(first, answer=dataclasses.replace(first.answer, parts=parts), reward=None)
  rollouts.write(tmp_path, 'train', 1, [lost], PRESETS['paper'].weights)
  (change,) = recomputed(tmp_path, PRESETS['paper'])
  assert change.reward is None and 'down' in change.parts.rule.note
  assert recomputed(tmp_path, PRESETS['released'])[0].reward is not None


@pytest.mark.parametrize(
  ('one', 'other', 'tau'),
  [
    ([1, 2, 3], [1, 2, 3], 1.0),
    ([1, 2, 3], [3, 2, 1], -1.0),
    ([1, 2, 3], [2, 1, 3], 1 / 3),
    ([1, 1, 2], [1, 2, 3], 2 / 3),
    ([1, 1], [2, 2 + 1e-9], None),
    ([], [], None),
  ],
)
def test_rank_correlation(one, other, tau):
  found = rescore.kendall(one, other)
  assert found is None if tau is None else found == pytest.approx(tau)


SIGNS = {
  'always search': 'one_tool',
  'one image repeated': 'repeated_picture',
  'empty text': 'empty_text',
  'tag spam': 'tag_spam',
  'copied prompt': 'copied_request',
}


@pytest.mark.parametrize('name', POLICIES)
def test_the_audit_flags_each_degenerate_policy_and_not_an_honest_one(registry, name):
  tasks = generate.tasks('test')[::2]
  told = signs(asyncio.run(answers(registry, tasks, POLICIES[name])))
  assert SIGNS[name] in told if name in SIGNS else not told
