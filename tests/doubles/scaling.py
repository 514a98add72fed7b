"""A crew without a policy: written responses, the real dispatcher, small tools, judges as functions."""

import asyncio
import hashlib

import numpy as np

from llmi_jax.core.answer import Answer
from llmi_jax.core.outcome import Candidate
from llmi_jax.core.task import ImageRule, Message, Task, TextPart
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.services import images
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from llmi_jax.text import grammar, tag
from llmi_jax.tools import answer as answers
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Registry, Tool, ToolFailure, success
from llmi_jax.tools.session import SessionKey
from llmi_jax.tts.crew import Crew, metered
from llmi_jax.tts.ledger import Ledger
from llmi_jax.tts.selectors import Scores


def task(rule='free', count=0, question='Show a cat.', id='t'):
  asked = (Message('user', (TextPart(question),)),)
  return Task(id, asked, question, ImageRule(rule, count))


def tagged(tool, description='a cat', **params):
  return tag.write(tool, description, params)


def picture(name):
  """A small picture, the same for equal names."""
  colour = hashlib.sha256(name.encode()).digest()[:3]
  return images.from_array(np.full((8, 8, 3), list(colour), np.uint8))


class Tools:
  """Four tools that count their calls; `fails(tool, params, context)` may return a ToolFailure to raise.

  Attributes:
    calls: (tool, parameters) in the order in which they began.
  """

  def __init__(self, fails=None, seconds=0.0):
    self.calls, self.busy, self.most = [], 0, 0
    self._fails, self._seconds = fails or (lambda *_: None), seconds
    self.registry = Registry(
      [
        self._tool('search', self._search, Parameter('query', 'string', 'what')),
        self._tool('diffusion', self._paint, Parameter('prompt', 'string', 'what'), seeded=True),
        self._tool(
          'edit',
          self._edit,
          Parameter('img_index', 'image', 'which'),
          Parameter('prompt', 'string', 'how'),
          seeded=True,
        ),
        self._tool('code', self._code, Parameter('code', 'string', 'Python')),
      ]
    )

  def _tool(self, name, work, *parameters, seeded=False):
    async def call(params, context):
      self.calls.append((name, dict(params)))
      self.busy += 1
      self.most = max(self.most, self.busy)
      try:
        await asyncio.sleep(self._seconds)
        if failure := self._fails(name, params, context):
          raise failure
        return work(params, context)
      finally:
        self.busy -= 1

    return Tool(ToolSpec(name, name, parameters), call, seeded=seeded, cached=False)

  def _search(self, params, context):
    names = [f'{params["query"]}/{rank}' for rank in range(context.candidates)]
    return success(*(Candidate(picture(name), caption=name) for name in names))

  def _paint(self, params, context):
    return success(Candidate(picture(f'{params["prompt"]}/{context.seed}')))

  def _edit(self, params, context):
    source = context.images[int(params['img_index'])]
    return success(Candidate(picture(f'{source.sha256}/{params["prompt"]}/{context.variant}')))

  def _code(self, params, context):
    if 'good' not in params['code']:
      raise ToolFailure("NameError: name 'bad' is not defined", 'policy')
    return success(Candidate(picture(params['code'])))


def place(task, seed, sample):
  return SessionKey(seed, 0, f'tts{seed}/{task.id}', sample)


class Writer:
  """Answers with written responses, in turn, their tools run. Counts its calls."""

  def __init__(self, responses, tools, dispatcher, seconds=0.0, order=None):
    self.asked = 0
    self._responses, self._registry, self._dispatcher = responses, tools.registry, dispatcher
    self._seconds, self._order = seconds, order or (lambda k: 0.0)

  async def __call__(self, task, n, seed, heard=None, /):
    self.asked += 1

    async def one(k):
      await asyncio.sleep(self._seconds + self._order(k))
      document = grammar.parse(
        self._responses[k % len(self._responses)], self._registry.specs, len(task.input_images)
      )
      session = self._dispatcher.open(task, place(task, seed, k))
      for segment in document.segments:
        session.submit(segment)
      parts = answers.compose(document, await session.finish())
      usage = (('prompt_tokens', 10.0), ('completion_tokens', 20.0), ('seconds', 0.5))
      answer = Answer(task.id, parts, document, usage=usage)
      if heard:
        heard(k, answer)
      return answer

    return list(await asyncio.gather(*(one(k) for k in range(n))))


def dispatcher(tools, journal=None, concurrency=8):
  retry = Retry(1)
  return Dispatcher(tools.registry, default=Limit(concurrency, 60.0), retry=retry, journal=journal)


def judge(grade):
  """A judge whose score is `grade(answer)` in [0, 1]; None is a verdict that was lost."""

  async def ask(task, answer):
    value = grade(answer)
    if value is None:
      return Verdict('double', 'missing', reason='deadline: it was late')
    return Verdict('double', 'scored', (Score('value', value, '0-1'),))

  return ask


def value(task, answer):
  scored = [v for v in answer.verdicts if v.status == 'scored']
  return scored[0].scores[0].value if scored else None


def crew(
  responses,
  *,
  tools=None,
  grade=None,
  selector=None,
  ledger=None,
  polisher=None,
  repairer=None,
  journal=None,
  **more,
):
  """Everybody, for `task()`."""
  tools = tools or Tools()
  runner = dispatcher(tools, journal, more.get('concurrency', 8))
  ledger = ledger or Ledger()
  writer = Writer(responses, tools, runner, more.get('seconds', 0.0), more.get('order'))

  async def run(call, pictures, sample, variant, candidates):
    return await runner.run(call, pictures, place(task(), more.get('seed', 0), sample), candidates, variant)

  chosen = selector or Scores('double', [judge(grade or (lambda answer: 0.5))], value)
  draws = frozenset({'diffusion', 'edit', 'search'})
  return Crew(writer, chosen, metered(run, ledger), tools.registry.specs, draws, ledger, polisher, repairer)
