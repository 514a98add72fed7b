"""What was sampled, token by token, and what became of it."""

import dataclasses
from typing import Literal

import numpy as np

from llmi_jax.core.answer import Answer
from llmi_jax.core.document import Document
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
  """One prompt and the response to it.

  Attributes:
    prompt: what the model read.
    tokens: [T] int32, as sampled, the stop token included.
    mask: [T] bool; 1 on every sampled token, 0 on forced ones.
    logp_sampled: [T] float32 under the sampling distribution.
    logp_full: [T] float32 at temperature 1 over the full vocabulary.
    finish: `stop`, `length` or `cancelled`.
    text: the decoded response, special tokens left out.
    document: its segments.
    started: seconds since the step began, when its first token was asked for.
    ended: seconds since the step began, when its last token was seen.
  """

  prompt: Prompt
  tokens: np.ndarray
  mask: np.ndarray
  logp_sampled: np.ndarray
  logp_full: np.ndarray
  finish: Literal['stop', 'length', 'cancelled']
  text: str
  document: Document
  started: float = 0.0
  ended: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
  """One sample of one task.

  Attributes:
    task: the request.
    sample: index among the task's samples in this step.
    turns: one today; image numbers run through all of them.
    answer: what people and judges see, verdicts and reward parts included.
    step: training step, or the step of the policy that was evaluated.
    reward: the gated reward; None where the sample is unscorable.
    advantage: 0 where unscorable or not trained on.
    timings: seconds by kind (`decode`, `tools`, `judge`).
  """

  task: Task
  sample: int
  turns: tuple[Turn, ...]
  answer: Answer
  step: int = 0
  reward: float | None = None
  advantage: float = 0.0
  timings: tuple[tuple[str, float], ...] = ()

  @property
  def id(self) -> str:
    """`step/task/sample`, the name used from parquet to report."""
    return f'{self.step}/{self.task.id}/{self.sample}'
