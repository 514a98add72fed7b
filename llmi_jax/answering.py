"""Who answers tasks: a policy on our own engine, or a remote model with our tools, under one signature.

    async with answering.policy(...) as generate:
      answers = await generate(task, n, seed)

Tools are *offered*; or *absent*, when the prompt does not speak of them; or *refused*, when it does and every
call is turned away. In the last two no tool is run.
"""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

from llmi_jax import speaking, toolbox, wiring
from llmi_jax.core.answer import Answer
from llmi_jax.core.document import Document
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import ImagePart, Message, Part, Task, TextPart
from llmi_jax.rollout.batcher import Batcher, Job
from llmi_jax.rollout.device import Device
from llmi_jax.services.cache import Cache
from llmi_jax.services.chat import ChatClient
from llmi_jax.services.completion import ChatRequest
from llmi_jax.services.journal import Journal
from llmi_jax.speaking import Limits
from llmi_jax.text import grammar, prompts
from llmi_jax.text.prompts import Template
from llmi_jax.tools import answer as answers
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Registry
from llmi_jax.tools.session import SessionKey

Offer = Literal['offered', 'absent', 'refused']
Generate = Callable[[Task, int, int], Awaitable[list[Answer]]]
Reply = Callable[[str, Callable[[], Awaitable[str]]], Awaitable[str]]


@dataclasses.dataclass(frozen=True)
class Writing:
  """How answers are written.

  Attributes:
    temperature: of sampling; 0 is greedy.
    tokens: most of a response.
    offer: what becomes of tools.
    origin: what answers are signed with.
  """

  temperature: float
  tokens: int
  offer: Offer = 'offered'
  origin: str = ''


@dataclasses.dataclass(frozen=True)
class Workshop:
  """Tools and the prompt that speaks of them.

  Attributes:
    registry: the configured tools.
    dispatcher: runs them.
    template: the system prompt.
    writing: how answers are written.
  """

  registry: Registry
  dispatcher: Dispatcher
  template: Template
  writing: Writing

  @property
  def specs(self):
    """The tools that prompts speak of."""
    return () if self.writing.offer == 'absent' else self.registry.specs

  def asked(self, task: Task) -> Task:
    """The task as prompts see it."""
    return dataclasses.replace(task, offered_tools=()) if self.writing.offer == 'absent' else task

  async def finished(self, task: Task, response: str, seed: int, sample: int) -> Answer:
    """A response as an answer, its tools run."""
    document = grammar.parse(response, self.registry.specs, len(task.input_images))
    if self.writing.offer == 'offered':
      session = self.dispatcher.open(task, SessionKey(seed, 0, f'eval/{task.id}', sample))
      for segment in document.segments:
        session.submit(segment)
      outcomes = await session.finish()
    else:
      outcomes = _refused(document)
    return Answer(task.id, answers.compose(document, outcomes), document, origin=self.writing.origin)


@contextlib.asynccontextmanager
async def workshop(
  config: wiring.Config,
  device: Device,
  writing: Writing,
  journal: Journal | None,
  cache: Cache | None,
  seed: int,
) -> AsyncIterator[Workshop]:
  """Opens a config's tools.

  Raises:
    ConfigError: they cannot be had.
  """
  async with toolbox.registry(config.tools, device) as registry:
    dispatcher = toolbox.dispatcher(registry, config.tools, journal, cache, seed)
    yield Workshop(registry, dispatcher, prompts.load_template(config.prompt.template), writing)


@contextlib.asynccontextmanager
async def policy(
  loaded: wiring.Policy, device: Device, shop: Workshop, prompt_tokens: int, rows: int
) -> AsyncIterator[Generate]:
  """A policy on our own engine.

  `generate` raises DataError where a task's prompt is too long or holds a picture that cannot be read.

  Args:
    loaded: weights, tokenizer and picture processor.
    device: the thread that it runs on.
    shop: its tools.
    prompt_tokens: longest prompt.
    rows: responses that are decoded together.
  """
  limits = Limits(prompt_tokens, shop.writing.tokens, rows)
  places = asyncio.Semaphore(2 * rows)
  render = functools.partial(
    prompts.render,
    tokenizer=loaded.tokenizer,
    specs=shop.specs,
    template=shop.template,
    limit=prompt_tokens,
    processor=loaded.processor,
  )
  async with speaking.batching(loaded, device, limits, 'eval') as batcher:

    async def one(task: Task, prompt: Any, seed: int, sample: int) -> Answer:
      async with places:
        sampled = await _sample(batcher, prompt, _seed(seed, task.id, sample), shop.writing)
      return await shop.finished(task, loaded.tokenizer.decode(sampled.tokens), seed, sample)

    async def generate(task: Task, n: int, seed: int) -> list[Answer]:
      prompt = await asyncio.to_thread(render, shop.asked(task))
      batcher.sight.check(prompt)
      return list(await asyncio.gather(*(one(task, prompt, seed, k) for k in range(n))))

    yield generate


async def _sample(batcher: Batcher, prompt: Any, seed: int, writing: Writing):
  job = Job(prompt, seed, writing.tokens, writing.temperature)
  batcher.submit(job)
  return await job.last()


def remote(chat: ChatClient, shop: Workshop, reply: Reply, sees: bool = True) -> Generate:
  """A model behind the chat protocol, told of our tools as a policy is.

  `generate` raises ServiceFault where the model cannot be reached.

  Args:
    chat: asks it.
    shop: the tools.
    reply: keeps replies by key, so that none is paid for twice.
    sees: whether pictures are sent; else marks stand for them.
  """
  writing = shop.writing

  async def one(task: Task, seed: int, sample: int) -> Answer:
    system = shop.template.render(prompts.offered(shop.asked(task), shop.specs))
    messages = (Message('system', (TextPart(system),)), *numbered(task, sees))
    request = ChatRequest(messages, writing.temperature, writing.tokens, _seed(seed, task.id, sample))

    async def ask() -> str:
      return (await chat.complete(request)).text

    key = f'{request.digest(chat.model, chat.settings.image_pixels)}/{sample}'
    return await shop.finished(task, await reply(key, ask), seed, sample)

  async def generate(task: Task, n: int, seed: int) -> list[Answer]:
    return list(await asyncio.gather(*(one(task, seed, k) for k in range(n))))

  return generate


def numbered(task: Task, sees: bool) -> list[Message]:
  """A task's messages without its system message, pictures numbered as edits name them."""
  made, number = [], 0
  for message in task.messages:
    parts: list[Part] = []
    for part in message.content:
      if isinstance(part, ImagePart):
        parts += [TextPart(f'[picture {number}]'), *([part] if sees else [])]
        number += 1
      else:
        parts.append(part)
    made += [Message(message.role, tuple(parts))] if message.role != 'system' else []
  return made


def _refused(document: Document) -> dict[int, ToolOutcome]:
  return {
    call.position: ToolOutcome(
      'not_offered',
      'policy',
      tool=call.tool,
      executed=tuple(call.params.items()),
      error=f'The tool {call.tool!r} is not offered here.',
    )
    for call in document.calls
  }


def _seed(seed: int, task: str, sample: int) -> int:
  """In [0, 2³¹); batch and order do not enter it."""
  digest = hashlib.sha256(f'{seed}/{task}/{sample}'.encode()).digest()
  return int.from_bytes(digest[:4], 'big') >> 1
