"""Trajectories → the arrays that an update reads. Rows stand in request order, never in arrival order."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from llmi_jax.core.batch import Batch
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.rl import advantages, overlong
from llmi_jax.rl.overlong import Overlong
from llmi_jax.rollout.album import Album
from llmi_jax.rollout.facts import Facts
from llmi_jax.rollout.sight import Eyes
from llmi_jax.update.rows import Rows


def with_advantages(
  trajectories: Sequence[Trajectory],
  samples: int,
  kind: advantages.Kind = 'grpo',
  limit: int = 0,
  shaping: Overlong = Overlong(),
) -> list[Trajectory]:
  """The same trajectories, each with its advantage within its group of `samples` neighbours.

  Args:
    trajectories: of one step; their rewards stay as they are.
    samples: per group.
    kind: of advantage.
    limit: the longest response allowed.
    shaping: what nearing it costs, in the advantage alone.
  """
  rewards = np.array([np.nan if t.reward is None else t.reward for t in trajectories], np.float32)
  lengths = np.array([len(t.turns[-1].tokens) for t in trajectories])
  rewards = rewards + np.asarray(overlong.penalty(lengths, limit, shaping))
  table = np.asarray(advantages.advantages(rewards.reshape(-1, samples), kind))
  return [dataclasses.replace(t, advantage=float(a)) for t, a in zip(trajectories, table.reshape(-1))]


def group_scalars(trajectories: Sequence[Trajectory | Facts], samples: int) -> dict[str, float]:
  """Shares of groups that teach nothing: without two scorable samples, and without any advantage."""
  scorable = np.array([t.reward is not None for t in trajectories]).reshape(-1, samples)
  flat = np.array([t.advantage == 0 for t in trajectories]).reshape(-1, samples)
  return {
    'groups/unscorable': float((scorable.sum(-1) < 2).mean()),
    'groups/zero_advantage': float(flat.all(-1).mean()),
  }


def assemble(
  trajectories: Sequence[Trajectory], width: int | None = None, shaping: Overlong = Overlong()
) -> Batch:
  """Whole rows, prompt then response, right-padded.

  Args:
    trajectories: of one step, advantages included.
    width: of the rows; by default the longest one's.
    shaping: whether responses that were cut off are left out of the loss.
  """
  turns = [t.turns[0] for t in trajectories]
  prompt_len = np.array([len(turn.prompt.tokens) for turn in turns], np.int32)
  length = prompt_len + np.array([len(turn.tokens) for turn in turns], np.int32)
  shape = len(turns), width or int(length.max())
  tokens, mask = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
  sampled, full = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for row, (trajectory, turn) in enumerate(zip(trajectories, turns)):
    start, end = prompt_len[row], length[row]
    tokens[row, :start], tokens[row, start:end] = turn.prompt.tokens, turn.tokens
    counted = trajectory.reward is not None and not (shaping.mask and turn.finish == 'length')
    mask[row, start:end] = turn.mask * counted
    sampled[row, start:end], full[row, start:end] = turn.logp_sampled, turn.logp_full
  advantage = np.array([t.advantage for t in trajectories], np.float32)
  rows = np.arange(len(turns), dtype=np.int32)
  prompts = tuple(turn.prompt for turn in turns)
  return Batch(tokens, prompt_len, length, mask, sampled, full, advantage, rows, prompts)


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
  mask, sampled = (np.zeros((count, response_width), np.float32) for _ in range(2))
  tokens = np.zeros((count, response_width), np.int32)
  for row, (start, end) in enumerate(itertools.zip_longest(batch.prompt_len, batch.length)):
    prompt[row // samples, :start] = batch.tokens[row, :start]
    tokens[row, : end - start] = batch.tokens[row, start:end]
    mask[row, : end - start] = batch.mask[row, start:end]
    sampled[row, : end - start] = batch.logp_sampled[row, start:end]
  length = batch.length - batch.prompt_len
  return Rows(prompt, batch.prompt_len[::samples], tokens, length, mask, sampled, batch.advantage)


def pictures(batch: Batch, samples: int, width: int, eyes: Eyes | None, shards: int = 1) -> Album | None:
  """The pictures of the batch's prompts, `samples` neighbours sharing one; None where there are none.

  Args:
    batch: whole rows.
    samples: rows per prompt.
    width: Tp.
    eyes: the policy's; None for one that only reads.
    shards: see `Album`.
  """
  prompts = batch.prompts[::samples]
  if eyes is None or not any(prompt.vision for prompt in prompts):
    return None
  return Album(prompts, eyes.config, eyes.image_pad, width, shards)
