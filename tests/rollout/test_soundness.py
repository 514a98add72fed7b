"""Samples that no update may see are set aside; the rest of the blame goes to whom it belongs to."""

import numpy as np
import pytest

from llmi_jax.core.answer import Answer
from llmi_jax.core.document import Document
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import ImageRule, Message, Task, TextPart
from llmi_jax.core.trajectory import Trajectory, Turn
from llmi_jax.rollout import soundness

TASKS = [Task(f't{i}', (Message('user', (TextPart('x'),)),), 'x', ImageRule('free')) for i in range(3)]


def trajectory(task, sample, reward=0.5, logp=-1.0):
  turn = Turn(
    Prompt(np.arange(3, dtype=np.int32)), np.arange(2, dtype=np.int32), np.ones(2, bool),
    np.array([logp, -1], np.float32), np.zeros(2, np.float32), 'stop', '', Document(()),
  )  # fmt: skip
  return Trajectory(TASKS[task], sample, (turn,), Answer(TASKS[task].id, ()), reward=reward)


SAMPLES = [trajectory(task, sample) for task in range(3) for sample in range(2)]


@pytest.mark.parametrize('bad', [dict(reward=float('nan')), dict(reward=float('inf')), dict(logp=np.nan)])
def test_a_sample_that_is_not_finite_is_made_unscorable_and_named(bad):
  kept, words = soundness.set_aside([trajectory(0, 0), trajectory(0, 1, **bad), trajectory(1, 0, None)])
  assert [t.reward for t in kept] == [0.5, None, None]
  assert len(words) == 1 and words[0].startswith('sample 1 of task t0: its ')


def blame(*bad):
  asked = []

  def refused(some):
    asked.append(len(some))
    return any((t.task.id, t.sample) in bad for t in some)

  words = soundness.culprits(SAMPLES, 2, refused)
  assert set(asked) == {len(SAMPLES)}, 'the programs of the step must serve'
  return words


def test_the_culprit_is_found_among_groups_and_samples():
  assert blame(('t1', 1)) == 'the gradient of sample 1 of task t1 is not finite'
  both = blame(('t0', 0), ('t0', 1), ('t2', 0))
  assert (
    both == 'the gradient of sample 0 of task t0, sample 1 of task t0, and of 1 further tasks is not finite'
  )
  assert 'their sum has' in blame()
  assert 'the parameters are at fault' in blame(('t0', 0), ('t1', 0), ('t2', 1))


def test_without_a_scorable_sample_nobody_is_asked():
  none = [trajectory(0, 0, None), trajectory(0, 1, None)]
  assert soundness.culprits(none, 2, lambda some: pytest.fail()) == 'no sample is scorable'
