"""Trajectories become arrays in request order; unscorable ones count nowhere."""

import dataclasses

import numpy as np

from llmi_jax.core.answer import Answer
from llmi_jax.core.document import Document
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import ImageRule, Message, Task, TextPart
from llmi_jax.core.trajectory import Trajectory, Turn
from llmi_jax.rollout import batch

TASKS = [Task(f't{i}', (Message('user', (TextPart('x'),)),), 'x', ImageRule('free')) for i in range(2)]


def _trajectory(task, sample, reward, length):
  prompt = Prompt(np.arange(1, 4 + task, dtype=np.int32))
  tokens = 10 * (task + 1) + np.arange(length, dtype=np.int32)
  logp = -np.arange(1.0, length + 1, dtype=np.float32)
  turn = Turn(prompt, tokens, np.ones(length, bool), logp, logp / 2, 'stop', '', Document(()))
  return Trajectory(TASKS[task], sample, (turn,), Answer(TASKS[task].id, ()), reward=reward)


SAMPLES = [
  _trajectory(0, 0, 1.0, 2),
  _trajectory(0, 1, 0.0, 5),
  _trajectory(0, 2, None, 3),
  _trajectory(1, 0, 0.5, 1),
  _trajectory(1, 1, 0.5, 4),
  _trajectory(1, 2, 0.5, 2),
]


def test_advantages_stay_within_their_group():
  found = [t.advantage for t in batch.with_advantages(SAMPLES, 3)]
  root = 2**-0.5
  np.testing.assert_allclose(found, [root, -root, 0, 0, 0, 0], atol=1e-5)


def test_rows_hold_prompt_then_response_and_unscorable_rows_are_masked():
  made = batch.assemble(batch.with_advantages(SAMPLES, 3))
  assert made.tokens[1].tolist() == [1, 2, 3, 10, 11, 12, 13, 14]
  assert made.mask[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
  assert not made.mask[2].any() and made.mask[3].sum() == 1
  assert made.logp_full[0, 3:5].tolist() == [-0.5, -1.0]
  assert made.length.tolist() == [5, 8, 6, 5, 8, 6] and made.row.tolist() == list(range(6))


def test_shared_prompts_hold_the_same_tokens():
  whole = batch.assemble(SAMPLES)
  rows = batch.share_prompts(whole, 3, prompt_width=6, response_width=5)
  assert rows.prompt.tolist() == [[1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 0, 0]]
  assert rows.tokens[4].tolist() == [20, 21, 22, 23, 0]
  for row in range(6):
    start, length = whole.prompt_len[row], rows.length[row]
    np.testing.assert_array_equal(rows.mask[row, :length], whole.mask[row, start : start + length])
    np.testing.assert_array_equal(rows.logp_sampled[row, :length], SAMPLES[row].turns[0].logp_sampled)


def test_a_batch_without_scorable_rows_has_an_empty_mask():
  lost = [dataclasses.replace(t, reward=None) for t in SAMPLES]
  assert not batch.assemble(batch.with_advantages(lost, 3)).mask.any()
