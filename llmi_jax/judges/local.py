"""A model in this process as the one who completes chat requests, so that a judge needs no server."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Sequence
from typing import Protocol

from llmi_jax.core.task import ImagePart, Message
from llmi_jax.judges.remote import Complete
from llmi_jax.services.completion import ChatReply, ChatRequest, bounded


class Generate(Protocol):
  """The reply to messages; made by an entry point over an engine of this process."""

  def __call__(
    self, messages: Sequence[Message], *, temperature: float, tokens: int, seed: int | None
  ) -> Awaitable[ChatReply]: ...


def complete(generate: Generate, model: str, image_pixels: int = 784_000) -> Complete:
  """A function like `ChatClient.complete`; schemas and log-probabilities are not served.

  Args:
    generate: the model.
    model: its name.
    image_pixels: larger pictures are scaled down to this many pixels.
  """

  async def answer(request: ChatRequest) -> ChatReply:
    if request.schema is not None or request.logprobs is not None:
      raise ValueError('A model in this process follows no schema and reports no log-probabilities.')
    messages = await asyncio.to_thread(_smaller, request.messages, image_pixels)
    reply = await generate(
      messages, temperature=request.temperature, tokens=request.max_tokens, seed=request.seed
    )
    return dataclasses.replace(reply, model=model)

  return answer


def _smaller(messages: Sequence[Message], pixels: int) -> tuple[Message, ...]:
  return tuple(
    dataclasses.replace(
      message,
      content=tuple(
        ImagePart(bounded(part.image, pixels)) if isinstance(part, ImagePart) else part
        for part in message.content
      ),
    )
    for message in messages
  )
