"""What a run would cost, before it: questions, tokens, money."""

import asyncio
import dataclasses

import numpy as np

from llmi_jax.core.answer import Answer, AnswerPart, Picture, Prose
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, TextPart
from llmi_jax.eval.harness import Answers
from llmi_jax.eval.record import Answered, Benchmark, Fault, Record
from llmi_jax.services import images
from llmi_jax.services.completion import ChatRequest

# Rules of thumb; a server's own counting differs by some tens of per cent.
CHARACTERS = 4  # of a token
PIXELS = 28 * 28  # of a token
REPLY = 300  # tokens of a usual reply
_LONG = 2000  # characters of an answer that is not written yet


@dataclasses.dataclass
class Estimate:
  """Totals.

  Attributes:
    records: that would be judged.
    answers: that would have to be made first.
    calls: of judges, at most: questions that others presuppose are counted.
    prompt: tokens that judges read, about.
    reply: tokens that judges write, about.
  """

  records: int = 0
  answers: int = 0
  calls: int = 0
  prompt: int = 0
  reply: int = 0

  def price(self, prompt: float, reply: float) -> float:
    """In the currency of prices per million tokens."""
    return (self.prompt * prompt + self.reply * reply) / 1e6


async def estimate(benchmark: Benchmark, answers: Answers | None, pixels: int, limit: int = 0) -> Estimate:
  """Counts without calling anybody.

  Args:
    benchmark: in its mode.
    answers: finds answers that are there; None where they would be made: then each is taken to be its gold
      answer, or a page of text and a picture.
    pixels: that a picture is scaled down to.
    limit: records that are looked at; 0 for all.
  """
  total = Estimate()
  for record in benchmark.records():
    if isinstance(record, Fault):
      continue
    if limit and total.records >= limit:
      break
    answered = await answers(record) if answers else Answered((_stand_in(record),))
    total.records += 1
    total.answers += answers is None
    for call in await asyncio.to_thread(benchmark.plan, record, answered):
      total.calls += 1
      total.prompt += tokens(call.request, pixels)
      total.reply += min(REPLY, call.request.max_tokens)
  return total


def tokens(request: ChatRequest, pixels: int) -> int:
  """Of a prompt, about."""
  parts = [part for message in request.messages for part in message.content]
  texts = sum(len(part.text) for part in parts if isinstance(part, TextPart))
  seen = [min(p.image.width * p.image.height, pixels) for p in parts if isinstance(p, ImagePart)]
  return texts // CHARACTERS + sum(n // PIXELS for n in seen)


def _stand_in(record: Record) -> Answer:
  parts: list[AnswerPart] = []
  for position, part in enumerate(record.task.gold or (TextPart('x' * _LONG), ImagePart(_blank()))):
    parts.append(Prose(part.text) if isinstance(part, TextPart) else Picture(part.image, position))
  return Answer(record.id, tuple(parts))


def _blank() -> Image:
  return images.from_array(np.full((512, 512, 3), 255, np.uint8))
