"""What a judge is asked about an item, and what it said: once, whatever kills the run in between."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from llmi_jax.core.errors import told
from llmi_jax.core.task import Message, TextPart
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.services.cache import Cache
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.sharing import Flights

_RAW = 20_000  # characters of replies that are kept
_WORDS = 4_000


@dataclasses.dataclass(frozen=True)
class Grades:
  """A reply as read.

  Attributes:
    values: number or word by name.
    words: the judge's reasons.
  """

  values: Mapping[str, float | str]
  words: str = ''


class Form(Protocol):
  """How a reply is read."""

  def read(self, text: str, whole: bool) -> Grades:
    """The grades.

    Args:
      text: the reply.
      whole: False where the server says that it cut the reply off.

    Raises:
      Unreadable: it is no verdict; `cause` says why.
    """
    ...

  def again(self, why: Unreadable) -> str:
    """The one request to say it again; empty where there is none."""
    ...


@dataclasses.dataclass(frozen=True)
class Call:
  """A question to a judge.

  Attributes:
    name: within its item.
    request: for the chat model.
    form: of the reply.
    prompt_hash: of everything that words the question.
    needs: names of calls before it that must have been answered with yes.
    about: what it asks, in short, for people.
  """

  name: str
  request: ChatRequest
  form: Form
  prompt_hash: str
  needs: tuple[str, ...] = ()
  about: str = ''


@dataclasses.dataclass(frozen=True)
class Said:
  """What came of a call.

  Attributes:
    name: of the call.
    values: grades by name; empty unless it was read.
    words: the judge's reasons.
    missing: `cause: reason` where there is no reply that can be read.
    spared: why it was not asked, where it was not.
    about: what was asked, in short.
    model: what answered.
    prompt_hash: of the question's wording.
    seconds: wall time.
    tokens: of prompts and replies, repairs included.
    raw: the replies as received.
  """

  name: str
  values: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
  words: str = ''
  missing: str = ''
  spared: str = ''
  about: str = ''
  model: str = ''
  prompt_hash: str = ''
  seconds: float = 0.0
  tokens: tuple[int, int] = (0, 0)
  raw: str = ''

  @property
  def read(self) -> bool:
    return not self.missing and not self.spared

  @property
  def yes(self) -> bool:
    """Whether a word of it is yes."""
    return any(isinstance(v, str) and v.lower() == 'yes' for v in self.values.values())

  def number(self, name: str) -> float | None:
    """A grade that is a number; None where there is none."""
    value = self.values.get(name)
    return value if isinstance(value, int | float) else None


class Replies(Protocol):
  """Keeps what was said, durably, by key; see `store.Store`."""

  def reply(self, key: str) -> Said | None: ...

  def keep_reply(self, key: str, said: Said) -> None: ...


Complete = Callable[[ChatRequest], Awaitable[ChatReply]]


class Caller:
  """Asks, each question once. Within one event loop."""

  def __init__(
    self, complete: Complete, model: str, pixels: int, replies: Replies, cache: Cache | None = None
  ):
    """Makes one.

    Args:
      complete: `ChatClient.complete`.
      model: its name, part of every key.
      pixels: the bound that `complete` puts on pictures, likewise.
      replies: of this run, failures included.
      cache: replies that could be read, for all runs.
    """
    self.asked = 0
    self._complete, self._model, self._pixels = complete, model, pixels
    self._replies, self._cache = replies, cache
    self._flights: Flights[Said] = Flights()

  async def ask_all(self, calls: Sequence[Call]) -> dict[str, Said]:
    """What was said about an item, by name of the call, in order.

    Raises:
      StorageError: a reply cannot be kept.
    """
    work: dict[str, asyncio.Task[Said]] = {}
    try:
      async with asyncio.TaskGroup() as group:
        for call in calls:
          work[call.name] = group.create_task(self._after(call, [work.get(name) for name in call.needs]))
    except BaseExceptionGroup as errors:
      raise told(errors) from errors
    return {name: task.result() for name, task in work.items()}

  async def _after(self, call: Call, needed: Sequence[asyncio.Task[Said] | None]) -> Said:
    for task in needed:
      if task is None or not (await asyncio.shield(task)).yes:
        words = 'a question that this one presupposes was not answered with yes.'
        return Said(call.name, spared=words, about=call.about, prompt_hash=call.prompt_hash)
    return await self.ask(call)

  async def ask(self, call: Call) -> Said:
    """What was said, from this run's replies, the cache or the judge."""
    key = call.request.digest(self._model, self._pixels)
    kept = await asyncio.to_thread(self._replies.reply, key)
    if kept is None:
      kept = await self._flights.share(key, lambda: self._kept(call, key))
    # Whoever shares a reply keeps its own name.
    return dataclasses.replace(kept, name=call.name, about=call.about)

  async def _kept(self, call: Call, key: str) -> Said:
    found = self._cache.get(key, Said) if self._cache is not None else None
    said = found or await self._said(call)
    await asyncio.to_thread(self._replies.keep_reply, key, said)
    if self._cache is not None and found is None and said.read:
      await asyncio.to_thread(self._cache.put, key, said)
    return said

  async def _said(self, call: Call) -> Said:
    self.asked += 1
    started = time.monotonic()
    replies: list[ChatReply] = []
    missing, grades = '', Grades({})
    try:
      grades = await self._read(call, replies)
    except (ServiceFault, Unreadable) as fault:
      missing = f'{fault.cause}: {fault}'
    tokens = sum(r.prompt_tokens for r in replies), sum(r.completion_tokens for r in replies)
    return Said(
      call.name,
      grades.values,
      grades.words[:_WORDS],
      missing,
      about=call.about,
      model=self._model,
      prompt_hash=call.prompt_hash,
      seconds=time.monotonic() - started,
      tokens=tokens,
      raw='\n\n'.join(reply.text for reply in replies)[:_RAW],
    )

  async def _read(self, call: Call, replies: list[ChatReply]) -> Grades:
    """The grades, after at most one repair; `replies` gets what was said."""
    request = call.request
    replies.append(await self._complete(request))
    try:
      return call.form.read(replies[-1].text, replies[-1].finish != 'length')
    except Unreadable as why:
      again = call.form.again(why)
      if not again:
        raise
      said = Message('assistant', (TextPart(replies[-1].text[:_RAW]),))
      messages = (*request.messages, said, Message('user', (TextPart(again),)))
    replies.append(await self._complete(dataclasses.replace(request, messages=messages)))
    return call.form.read(replies[-1].text, replies[-1].finish != 'length')
