"""A policy that answers conversations in this process."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from llmi_jax.core.errors import DataError
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import Message
from llmi_jax.rollout.batcher import Batcher, Job
from llmi_jax.services.completion import ChatReply
from llmi_jax.services.faults import ServiceFault


class Speaker:
  """Answers, many at a time; see `judges.local.Generate`.

  Attributes:
    batcher: makes replies.
  """

  def __init__(
    self,
    batcher: Batcher,
    read: Callable[[Sequence[Message]], Prompt],
    decode: Callable[[np.ndarray], str],
    most: int,
  ):
    """Makes one.

    Args:
      batcher: makes replies.
      read: messages → what the model reads.
      decode: token ids → text.
      most: conversations that are read and not yet answered.
    """
    self.batcher, self._read, self._decode = batcher, read, decode
    self._places = asyncio.Semaphore(most)

  async def __call__(
    self, messages: Sequence[Message], *, temperature: float, tokens: int, seed: int | None
  ) -> ChatReply:
    """The reply; without a seed, that of seed 0.

    Raises:
      ServiceFault: `refused`, what is asked is too long or cannot be seen.
    """
    async with self._places:
      try:
        prompt = await asyncio.to_thread(self._read, messages)
        self.batcher.sight.check(prompt)
      except DataError as error:
        raise ServiceFault('refused', str(error)) from error
      job = Job(prompt, seed or 0, tokens, temperature)
      self.batcher.submit(job)
      sample = await job.last()
    return ChatReply(
      self._decode(sample.tokens),
      '',
      sample.finish,
      len(prompt.tokens),
      len(sample.tokens),
    )
