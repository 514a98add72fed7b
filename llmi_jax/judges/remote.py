"""A language model as judge, near or far: whatever completes a chat request.

    judge = RemoteJudge(LLM, chat.complete, model=chat.model)
    verdict = await judge.judge(task, answer, vote=0)

Its verdict is what it said or *missing* with the cause; no score is made up. A reply that cannot be read is
asked for once more, then missing with both replies kept.
"""

import collections
import dataclasses
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Message, Part, Task, TextPart
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.judges import gates, prompt, verdict_form, views
from llmi_jax.judges.verdict_form import Form, Reading, Unreadable
from llmi_jax.services.cache import content_key
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault

Complete = Callable[[ChatRequest], Awaitable[ChatReply]]
PLACES = frozenset({'code', 'request', 'rule', 'answer', 'form'})
_RAW = 20_000  # characters of replies that are kept


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a judge judges and how it is asked.

  Attributes:
    name: what stands in `Verdict.judge`.
    scores: names of its scores.
    view: `written` shows tags, `seen` shows pictures.
    template: a name in `judges/templates`, or a file.
    scale: of its scores, in whole numbers.
    form: of the reply.
    temperature: of sampling.
    tokens: most of a reply.
    seeded: whether a seed is sent.
    inputs: pictures of the request that are shown.
    pictures: pictures of the answer that are shown.
    characters: of the answer, and of the request, that are shown.
    gates: checks that spare a call; see `judges.gates`.
  """

  name: str
  scores: tuple[str, ...]
  view: Literal['written', 'seen']
  template: str
  scale: str = '1-5'
  form: Form = 'lines'
  temperature: float = 0.5
  tokens: int = 1024
  seeded: bool = True
  inputs: int = 4
  pictures: int = 10
  characters: int = 24_000
  gates: tuple[str, ...] = ()


LLM = Settings('llm', ('text', 'tag'), 'written', 'llm', gates=gates.GATES)
MLLM = Settings('mllm', ('image_quality', 'task_relevance', 'text_image_relevance'), 'seen', 'mllm')


@dataclasses.dataclass(frozen=True)
class Question:
  """What a judge is asked about one answer.

  Attributes:
    request: for the chat model.
    code: that the verdict must carry.
    vote: index among several.
    key: what the verdict depends on, as a hex digest.
  """

  request: ChatRequest
  code: str
  vote: int
  key: str


class RemoteJudge:
  """Asks a chat model.

  Attributes:
    name: of the judge.
    settings: as given.
    prompt_hash: of everything that words the question.
    counts: what became of calls, by name, since `take` was last called.
  """

  def __init__(self, settings: Settings, complete: Complete, model: str, image_pixels: int = 784_000):
    """Makes a judge.

    Args:
      settings: what and how.
      complete: `ChatClient.complete`, or `local.complete` over a model in this process.
      model: its name, part of every cache key.
      image_pixels: the bound that `complete` puts on pictures, likewise.

    Raises:
      ConfigError: the template has not the right places.
    """
    self.name = settings.name
    self.settings = settings
    self.counts: collections.Counter[str] = collections.Counter()
    self._complete, self._model, self._pixels = complete, model, image_pixels
    self._template = prompt.load(settings.template, PLACES)
    low, high = settings.scale.split('-')
    words = verdict_form.whole_numbers(int(low), int(high))
    self._fields = dict.fromkeys(settings.scores, words)
    worded = self._template.digest + verdict_form.ask(settings.form, '', self._fields)
    self.prompt_hash = hashlib.sha256(worded.encode()).hexdigest()[:16]

  async def judge(self, task: Task, answer: Answer, *, vote: int = 0, seed: int = 0) -> Verdict:
    """Judges one answer; `missing` where the environment failed."""
    spared = self.spared(task, answer, vote)
    return spared or await self.ask(self.prepare(task, answer, vote, seed))

  def spared(self, task: Task, answer: Answer, vote: int = 0) -> Verdict | None:
    """The verdict on an answer that needs no call; None where it needs one."""
    if self.settings.view == 'seen' and not answer.pictures:
      return self._verdict('not_applicable', vote, reason='There is no picture.')
    why = gates.closed(task, answer, self.settings.gates) if self.settings.gates else None
    if why is None:
      return None
    self.counts['gated'] += 1
    low = float(self.settings.scale.split('-')[0])
    scores = tuple(Score(name, low, self.settings.scale, why) for name in self.settings.scores)
    return dataclasses.replace(self._verdict('scored', vote, scores=scores, justification=why), model='gate')

  async def ask(self, question: Question) -> Verdict:
    """The verdict on a prepared question; the gates are passed by."""
    self.counts['asked'] += 1
    started = time.monotonic()
    replies: list[ChatReply] = []
    try:
      reading = await self._reading(question, replies)
    except (ServiceFault, Unreadable) as fault:
      self.counts[f'missing/{fault.cause}'] += 1
      made = self._verdict('missing', question.vote, reason=f'{fault.cause}: {fault}')
    else:
      made = self._scored(reading, question.vote)
    return dataclasses.replace(
      made,
      seconds=time.monotonic() - started,
      tokens=sum(reply.prompt_tokens + reply.completion_tokens for reply in replies),
      raw='\n\n'.join(reply.text for reply in replies)[:_RAW],
    )

  def prepare(self, task: Task, answer: Answer, vote: int = 0, seed: int = 0) -> Question:
    """What is asked about an answer, and what the verdict on it depends on.

    All of it is a function of what is judged, so that equal questions may share a reply; an answer's writer
    would have to write the hash of its own text to know the code.
    """
    settings = self.settings
    values: dict[str, str | tuple[Part, ...]] = {
      'rule': views.rule(task.image_rule),
      'request': views.request(task, settings.characters, settings.inputs),
      'answer': _view(answer, settings),
    }
    drawn = hashlib.sha256(f'{self._digest(self._asked(values, ""))}/{vote}/{seed}'.encode())
    code, number = drawn.hexdigest()[:12], int.from_bytes(drawn.digest()[-4:], 'big') >> 1
    # Where no seed is sent, the vote still tells equal questions apart in caches, not at the server.
    request = dataclasses.replace(self._asked(values, code), seed=number if settings.seeded else None)
    key = content_key(
      'judge', judge=self.name, prompt=self.prompt_hash, request=self._digest(request), vote=vote
    )
    return Question(request, code, vote, key)

  def take(self) -> dict[str, float]:
    """The counts since the last call of this."""
    counts, self.counts = self.counts, collections.Counter()
    return {f'calls/{self.name}/{what}': float(n) for what, n in counts.items()}

  def _asked(self, values: dict[str, str | tuple[Part, ...]], code: str) -> ChatRequest:
    settings = self.settings
    form = verdict_form.ask(settings.form, code, self._fields)
    messages = self._template.messages(values | {'code': code, 'form': form})
    shape = verdict_form.schema(code, self._fields) if settings.form == 'json' else None
    return ChatRequest(messages, settings.temperature, settings.tokens, schema=shape)

  def _digest(self, request: ChatRequest) -> str:
    return request.digest(self._model, self._pixels)

  async def _reading(self, question: Question, replies: list[ChatReply]) -> Reading:
    """The verdict, after at most one repair; `replies` gets what was said."""
    request, code = question.request, question.code
    try:
      return self._read(await self._said(request, replies), code)
    except Unreadable as why:
      self.counts[f'unread/{why.cause}'] += 1
      again = verdict_form.repair(self.settings.form, code, self._fields, why)
      said = Message('assistant', (TextPart(replies[-1].text[: self.settings.characters]),))
      asked = Message('user', (TextPart(again),))
      repaired = dataclasses.replace(request, messages=(*request.messages, said, asked))
    reading = self._read(await self._said(repaired, replies), code)
    self.counts['repaired'] += 1
    return reading

  async def _said(self, request: ChatRequest, replies: list[ChatReply]) -> ChatReply:
    replies.append(await self._complete(request))
    return replies[-1]

  def _read(self, reply: ChatReply, code: str) -> Reading:
    whole = reply.finish != 'length'
    return verdict_form.read(reply.text, self.settings.form, code, self._fields, whole=whole)

  def _scored(self, reading: Reading, vote: int) -> Verdict:
    scores = tuple(
      Score(name, float(reading.values[name]), self.settings.scale) for name in self.settings.scores
    )
    return self._verdict('scored', vote, scores=scores, justification=reading.reason[:4000])

  def _verdict(
    self,
    status: Literal['scored', 'not_applicable', 'missing'],
    vote: int,
    *,
    scores: Sequence[Score] = (),
    justification: str = '',
    reason: str = '',
  ) -> Verdict:
    return Verdict(
      self.name,
      status,
      tuple(scores),
      justification,
      reason,
      f'{self._model} at T={self.settings.temperature:g}',
      self.prompt_hash,
      vote,
    )


def _view(answer: Answer, settings: Settings) -> tuple[Part, ...]:
  if settings.view == 'written':
    return views.written(answer, settings.characters)
  return views.seen(answer, settings.characters, settings.pictures)
