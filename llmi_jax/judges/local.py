"""A model in this process as the one who completes chat requests, so that a judge needs no server."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from llmi_jax.core.task import Message
from llmi_jax.judges.remote import Complete
from llmi_jax.services.completion import ChatReply, ChatRequest


class Generate(Protocol):
  """Text after messages; made by an entry point over an engine of this process."""

  def __call__(
    self, messages: Sequence[Message], *, temperature: float, tokens: int, seed: int | None
  ) -> Awaitable[str]: ...


def complete(generate: Generate, model: str) -> Complete:
  """A function like `ChatClient.complete`; schemas and log-probabilities are not served.

  Args:
    generate: the model.
    model: its name.
  """

  async def answer(request: ChatRequest) -> ChatReply:
    if request.schema is not None or request.logprobs is not None:
      raise ValueError('A model in this process follows no schema and reports no log-probabilities.')
    text = await generate(
      request.messages, temperature=request.temperature, tokens=request.max_tokens, seed=request.seed
    )
    return ChatReply(text, model)

  return answer
