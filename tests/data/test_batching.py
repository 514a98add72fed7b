import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.data.batching import Batching
from llmi_jax.data.builtin import generate

TASKS = generate.tasks('test')


def ids(batching, step):
  return [task.id for task in batching.step(step)]


def test_a_step_is_a_function_of_seed_and_number_whatever_was_read_before():
  forward = [ids(Batching(TASKS, 8, 3), step) for step in range(30)]
  one = Batching(TASKS, 8, 3)
  assert [ids(one, step) for step in reversed(range(30))] == forward[::-1]
  assert ids(Batching(TASKS, 8, 4), 0) != forward[0]


def test_every_epoch_has_its_own_order_and_no_task_twice():
  batching = Batching(TASKS, 8, 0)
  per_epoch = len(TASKS) // 8
  epochs = [[i for s in range(per_epoch) for i in ids(batching, e * per_epoch + s)] for e in range(3)]
  assert all(len(set(epoch)) == len(epoch) == per_epoch * 8 for epoch in epochs)
  assert epochs[0] != epochs[1] != epochs[2]
  assert [batching.epoch(s) for s in (0, per_epoch - 1, per_epoch)] == [0, 0, 1]


def test_more_prompts_than_tasks_are_refused():
  with pytest.raises(ConfigError, match='101 prompts'):
    Batching(TASKS, 101, 0)
