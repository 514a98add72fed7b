"""Which of two answers is better, asked twice with their places swapped, so that a place is no merit."""

import asyncio
import dataclasses
import hashlib
from typing import Literal

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Part, Task
from llmi_jax.judges import prompt, verdict_form, views
from llmi_jax.judges.remote import PLACES, Complete
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.services.completion import ChatRequest
from llmi_jax.services.faults import ServiceFault

_FIELDS = {'better': ('A', 'B', 'tie')}


@dataclasses.dataclass(frozen=True)
class Preference:
  """The outcome of a comparison.

  Attributes:
    better: the first or the second answer, `tie`, or None where a reply is missing.
    swapped: whether the judge changed its mind with the places; then `better` is `tie`.
    reason: the judge's words, or why there are none.
  """

  better: Literal['first', 'second', 'tie'] | None
  swapped: bool = False
  reason: str = ''


class Comparison:
  """Compares answers to one request."""

  def __init__(
    self,
    complete: Complete,
    *,
    template: str = 'pair',
    temperature: float = 0.0,
    tokens: int = 1024,
    pictures: int = 6,
    characters: int = 16_000,
  ):
    """Arguments as in `judges.remote.Settings`; `pictures` and `characters` hold per answer."""
    self._complete = complete
    self._template = prompt.load(template, PLACES | {'other'})
    self._sampling = temperature, tokens
    self._bounds = characters, pictures

  async def compare(self, task: Task, first: Answer, second: Answer) -> Preference:
    """Asks for both orders; they must agree."""
    try:
      both = await asyncio.gather(
        self._asked(task, first, second), self._asked(task, second, first), return_exceptions=True
      )
      (there, why), (back, _) = (_told(one) for one in both)
    except (ServiceFault, Unreadable) as fault:
      return Preference(None, reason=f'{fault.cause}: {fault}')
    if there != {'A': 'B', 'B': 'A'}.get(back, back):
      return Preference('tie', swapped=True, reason=why)
    named: dict[str, Literal['first', 'second', 'tie']] = {'A': 'first', 'B': 'second', 'tie': 'tie'}
    return Preference(named[there], reason=why)

  async def _asked(self, task: Task, one: Answer, other: Answer) -> tuple[str, str]:
    """The word for the better one, and the reason."""
    characters, pictures = self._bounds
    values: dict[str, str | tuple[Part, ...]] = {
      'rule': views.rule(task.image_rule),
      'request': views.request(task, characters, pictures),
      'answer': views.seen(one, characters, pictures),
      'other': views.seen(other, characters, pictures),
    }
    code = hashlib.sha256(self._request(values, '').digest('', 0).encode()).hexdigest()[:12]
    reply = await self._complete(self._request(values, code))
    reading = verdict_form.read(reply.text, 'lines', code, _FIELDS, whole=reply.finish != 'length')
    return reading.values['better'], reading.reason

  def _request(self, values: dict[str, str | tuple[Part, ...]], code: str) -> ChatRequest:
    form = verdict_form.ask('lines', code, _FIELDS)
    return ChatRequest(self._template.messages(values | {'code': code, 'form': form}), *self._sampling)


def _told(said: tuple[str, str] | BaseException) -> tuple[str, str]:
  if isinstance(said, BaseException):
    raise said
  return said
