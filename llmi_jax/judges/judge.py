"""The interface that every judge has, offline or remote."""

from typing import Protocol, runtime_checkable

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Verdict


@runtime_checkable
class Judge(Protocol):
  """Scores an answer on declared scales, or says why it did not.

  Attributes:
    name: what stands in `Verdict.judge`; rewards read `llm` and `mllm`.
  """

  @property
  def name(self) -> str: ...

  async def judge(self, task: Task, answer: Answer, *, vote: int = 0, seed: int = 0) -> Verdict:
    """Judges one answer; never raises for what an answer holds.

    Args:
      task: what was asked.
      answer: what is judged; its own verdicts are not read.
      vote: index among several votes.
      seed: of the judge's own randomness, if it has any.
    """
    ...
