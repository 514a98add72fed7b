"""Who answers tasks: a policy on our own engine, or a remote model with our tools, under one signature.

    async with answering.policy(...) as generate:
      answers = await generate(task, n, seed)

Who calls it may be told of each answer as it ends: `generate(task, n, seed, heard)`.

Tools are *offered*; or *absent*, when the prompt does not speak of them; or *refused*, when it does and every
call is turned away. In the last two no tool is run.
"""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

from llmi_jax import speaking, toolbox, wiring
from llmi_jax.core.answer import Answer
from llmi_jax.core.document import Document
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import ImagePart, Message, Part, Task, TextPart
from llmi_jax.rollout.batcher import Batcher, Job
from llmi_jax.rollout.device import Device
from llmi_jax.sampling.keys import Stream
from llmi_jax.sampling.request import Sample
from llmi_jax.services.cache import Cache
from llmi_jax.services.chat import ChatClient
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.journal import Journal
from llmi_jax.speaking import Limits
from llmi_jax.text import grammar, prompts
from llmi_jax.text.prompts import Template
from llmi_jax.tools import answer as answers
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Registry
from llmi_jax.tools.session import SessionKey

Usage = tuple[tuple[str, float], ...]
Offer = Literal['offered', 'absent', 'refused']
Heard = Callable[[int, Answer], None]
Reply = Callable[[str, Callable[[], Awaitable[ChatReply]]], Awaitable[ChatReply]]


class Generate(Protocol):
  """Answers a task."""

  def __call__(self, task: Task, n: int, seed: int, heard: Heard | None = None, /) -> Awaitable[list[Answer]]:
    """`n` answers in the order of their numbers; `heard` gets number and answer of each as it ends."""
    ...


@dataclasses.dataclass(frozen=True)
class Writing:
  """How answers are written.

  Attributes:
    temperature: of sampling; 0 is greedy.
    tokens: most of a response.
    offer: what becomes of tools.
    origin: what answers are signed with.
    stream: what they are written for, part of the place of tool calls in a journal.
  """

  temperature: float
  tokens: int
  offer: Offer = 'offered'
  origin: str = ''
  stream: Stream = 'eval'


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

  def place(self, task: Task, seed: int, sample: int) -> SessionKey:
    """Where the calls of an answer stand in a journal."""
    return SessionKey(seed, 0, f'{self.writing.stream}{seed}/{task.id}', sample)

  async def finished(self, task: Task, response: str, seed: int, sample: int, usage: Usage = ()) -> Answer:
    """A response as an answer, its tools run."""
    document = grammar.parse(response, self.registry.specs, len(task.input_images))
    if self.writing.offer == 'offered':
      session = self.dispatcher.open(task, self.place(task, seed, sample))
      for segment in document.segments:
        session.submit(segment)
      outcomes = await session.finish()
    else:
      outcomes = _refused(document)
    parts = answers.compose(document, outcomes)
    return Answer(task.id, parts, document, origin=self.writing.origin, usage=usage)


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
  loaded: wiring.Policy, device: Device, shop: Workshop, prompt_tokens: int, rows: int, samples: int = 1
) -> AsyncIterator[Generate]:
  """A policy on our own engine.

  `generate` raises DataError where a task's prompt is too long or holds a picture that cannot be read.

  Args:
    loaded: weights, tokenizer and picture processor.
    device: the thread that it runs on.
    shop: its tools.
    prompt_tokens: longest prompt.
    rows: responses that are decoded together.
    samples: answers to one task that share the reading of its prompt.
  """
  limits = Limits(prompt_tokens, shop.writing.tokens, rows, samples)
  async with speaking.batching(loaded, device, limits, shop.writing.stream) as batcher:
    yield writer(loaded, batcher, shop, limits)


def writer(loaded: wiring.Policy, batcher: Batcher, shop: Workshop, limits: Limits) -> Generate:
  """The same over a batcher that is at work."""
  places = asyncio.Semaphore(2 * limits.rows)
  render = functools.partial(
    prompts.render,
    tokenizer=loaded.tokenizer,
    specs=shop.specs,
    template=shop.template,
    limit=limits.prompt,
    processor=loaded.processor,
  )

  async def group(task: Task, job: Job, seed: int, heard: Heard | None) -> list[Answer]:
    """The answers of one job; a response's tools start when it ends, beside the others' decoding."""
    work: dict[int, asyncio.Task[Answer]] = {}
    started = time.monotonic()

    async def one(sample: Sample) -> Answer:
      number = job.first + sample.sample
      usage = _usage(
        # The prompt is read once; who pays for it is the first.
        0 if sample.sample else len(job.prompt.tokens),
        len(sample.tokens),
        time.monotonic() - started,
      )
      text = loaded.tokenizer.decode(sample.tokens)
      answer = await shop.finished(task, text, seed, number, usage)
      if heard:
        heard(number, answer)
      return answer

    try:
      async with places:
        batcher.submit(job)
        async for sample in job.each():
          work[sample.sample] = asyncio.ensure_future(one(sample))
      await asyncio.gather(*work.values())
    finally:
      await _stopped(list(work.values()))
    return [work[number].result() for number in sorted(work)]

  async def generate(task: Task, n: int, seed: int, heard: Heard | None = None, /) -> list[Answer]:
    prompt = await asyncio.to_thread(render, shop.asked(task))
    batcher.sight.check(prompt)
    writing, each = shop.writing, limits.samples
    jobs = [
      Job(prompt, _seed(seed, task.id), writing.tokens, writing.temperature, min(each, n - first), first)
      for first in range(0, n, each)
    ]
    work = [asyncio.ensure_future(group(task, job, seed, heard)) for job in jobs]
    return [answer for answers_ in await _together(work) for answer in answers_]

  return generate


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

  async def one(task: Task, seed: int, sample: int, heard: Heard | None) -> Answer:
    system = shop.template.render(prompts.offered(shop.asked(task), shop.specs))
    messages = (Message('system', (TextPart(system),)), *numbered(task, sees))
    request = ChatRequest(messages, writing.temperature, writing.tokens, _seed(seed, task.id, sample))
    key = f'{request.digest(chat.model, chat.settings.image_pixels)}/{sample}'
    said = await reply(key, lambda: chat.complete(request))
    usage = (('calls', 1.0), *_usage(said.prompt_tokens, said.completion_tokens, said.seconds))
    answer = await shop.finished(task, said.text, seed, sample, usage)
    if heard:
      heard(sample, answer)
    return answer

  async def generate(task: Task, n: int, seed: int, heard: Heard | None = None, /) -> list[Answer]:
    return await _together([asyncio.ensure_future(one(task, seed, k, heard)) for k in range(n)])

  return generate


async def _together(work: Sequence[asyncio.Task[Any]]) -> list[Any]:
  """All results; what fails lets the others end first, so that who hears of them has them."""
  try:
    await asyncio.wait(work)
  finally:
    await _stopped(work)
  return [one.result() for one in work]


async def _stopped(work: Sequence[asyncio.Task[Any]]) -> None:
  for one in work:
    one.cancel()
  await asyncio.gather(*work, return_exceptions=True)


def _usage(prompt: int, completion: int, seconds: float) -> Usage:
  return (
    ('prompt_tokens', float(prompt)),
    ('completion_tokens', float(completion)),
    ('seconds', seconds),
  )


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


def _seed(seed: int, task: str, sample: int = 0) -> int:
  """In [0, 2³¹); batch and order do not enter it."""
  digest = hashlib.sha256(f'{seed}/{task}/{sample}'.encode()).digest()
  return int.from_bytes(digest[:4], 'big') >> 1
