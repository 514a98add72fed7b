"""Trajectories → the arrays that an update reads. Rows stand in request order, never in arrival order."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from llmi_jax.core.batch import Batch
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.rl import advantages
from llmi_jax.update import Rows


def with_advantages(
  trajectories: Sequence[Trajectory], samples: int, kind: advantages.Kind = 'grpo'
) -> list[Trajectory]:
  """The same trajectories, each with its advantage within its group of `samples` neighbours."""
  rewards = [np.nan if t.reward is None else t.reward for t in trajectories]
  table = np.asarray(advantages.advantages(np.reshape(rewards, (-1, samples)), kind))
  return [dataclasses.replace(t, advantage=float(a)) for t, a in zip(trajectories, table.reshape(-1))]


def assemble(trajectories: Sequence[Trajectory], width: int | None = None) -> Batch:
  """Whole rows, prompt then response, right-padded to `width` (default: the longest row)."""
  turns = [t.turns[0] for t in trajectories]
  prompt_len = np.array([len(turn.prompt.tokens) for turn in turns], np.int32)
  length = prompt_len + np.array([len(turn.tokens) for turn in turns], np.int32)
  shape = len(turns), width or int(length.max())
  tokens, mask = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
  sampled, full = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for row, (trajectory, turn) in enumerate(zip(trajectories, turns)):
    start, end = prompt_len[row], length[row]
    tokens[row, :start], tokens[row, start:end] = turn.prompt.tokens, turn.tokens
    mask[row, start:end] = turn.mask * (trajectory.reward is not None)
    sampled[row, start:end], full[row, start:end] = turn.logp_sampled, turn.logp_full
  advantage = np.array([t.advantage for t in trajectories], np.float32)
  rows = np.arange(len(turns), dtype=np.int32)
  return Batch(tokens, prompt_len, length, mask, sampled, full, advantage, rows)


def share_prompts(batch: Batch, samples: int, prompt_width: int, response_width: int) -> Rows:
  """The batch with each prompt once; `samples` neighbours share one.

  Args:
    batch: whole rows.
    samples: rows per prompt.
    prompt_width: Tp, at least the longest prompt.
    response_width: Tr, at least the longest response.
  """
  count = len(batch.length)
  groups = count // samples
  prompt = np.zeros((groups, prompt_width), np.int32)
  columns = {name: np.zeros((count, response_width), np.float32) for name in ('mask', 'logp_sampled')}
  tokens = np.zeros((count, response_width), np.int32)
  for row, (start, end) in enumerate(itertools.zip_longest(batch.prompt_len, batch.length)):
    prompt[row // samples, :start] = batch.tokens[row, :start]
    tokens[row, : end - start] = batch.tokens[row, start:end]
    for name, column in columns.items():
      column[row, : end - start] = getattr(batch, name)[row, start:end]
  length = batch.length - batch.prompt_len
  return Rows(prompt, batch.prompt_len[::samples], tokens, length, advantage=batch.advantage, **columns)
