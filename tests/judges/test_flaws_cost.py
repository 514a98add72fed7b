"""Demonstrations, right and wrong, through grammar, tools, judges and reward parts: what each flaw costs."""

import random
import statistics

import pytest

from llmi_jax.data.builtin import generate
from llmi_jax.data.demonstrations import PERFECT, Flaws, demonstrate
from llmi_jax.rewards.parts import reward_parts

TASKS = generate.tasks('test')


def reward(task, answer):
  parts = reward_parts(task, answer)
  rule, llm, mllm = (term.value for term in (parts.rule, parts.llm, parts.mllm))
  return 0.2 * rule + 0.5 * llm + 0.3 * rule * mllm


@pytest.fixture(scope='module')
def earned(answered):
  """Flaws → one reward per test task."""

  def earn(flaws):
    rng = random.Random(0)
    return [reward(task, answered(task, demonstrate(task, rng, flaws=flaws))) for task in TASKS]

  return earn


def test_a_perfect_demonstration_of_every_task_earns_at_least_095(earned):
  assert min(earned(PERFECT)) >= 0.95


def test_flawed_demonstrations_leave_at_least_025_to_be_gained(earned):
  perfect = statistics.mean(earned(PERFECT))
  flawed = statistics.mean([r for _ in range(3) for r in earned(Flaws())])
  assert flawed <= perfect - 0.25


@pytest.mark.parametrize('flaw', ['tool', 'count', 'tag', 'prose'])
def test_every_single_flaw_costs(earned, flaw):
  rates = {name: float(name == flaw) for name in ('tool', 'count', 'tag', 'prose')}
  worse = [r for r, task in zip(earned(Flaws(**rates)), TASKS) if task.required_tools]
  # `free` rules allow one picture more.
  assert statistics.mean(worse) <= 0.8
  assert sum(r < 0.99 for r in worse) >= 0.9 * len(worse)
