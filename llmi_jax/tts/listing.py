"""A list of answers put in order by a model, asked twice with the list reversed."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Part, Task, TextPart
from llmi_jax.judges import prompt, verdict_form, views
from llmi_jax.judges.verdict_form import Unreadable
from llmi_jax.services.completion import ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts.ledger import Complete
from llmi_jax.tts.selectors import Ranking, content, ranking

TEMPLATES = Path(__file__).parent / 'templates'
_PLACES = frozenset({'code', 'request', 'rule', 'answers', 'form'})
_LABELS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'


class Lists:
  """Orders answers. The value is the mean rank over both askings, 1 for first and 0 for last.

  Longer lists than the model is shown at once are ordered in pieces, each against its own members.
  """

  def __init__(
    self,
    name: str,
    complete: Complete,
    *,
    template: str = str(TEMPLATES / 'list.md'),
    temperature: float = 0.0,
    tokens: int = 1024,
    pictures: int = 6,
    characters: int = 12_000,
    most: int = 8,
  ):
    """Makes one; `pictures` and `characters` hold per answer, `most` is the longest list.

    Raises:
      ConfigError: the template has not the right places.
    """
    self.name = name
    self._complete = complete
    self._template = prompt.load(template, _PLACES)
    self._sampling = temperature, tokens
    self._bounds = characters, pictures
    self._most = min(most, len(_LABELS))
    self._known: dict[tuple[str, ...], list[int] | str] = {}

  async def rank(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    keys = [content(task, answer) for answer in answers]
    await asyncio.gather(
      *(
        self._ask(task, answers, order, key)
        for order in self._orders(len(answers))
        if (key := tuple(keys[index] for index in order)) not in self._known
      )
    )
    return self.so_far(task, answers)

  async def _ask(
    self, task: Task, answers: Sequence[Answer], order: Sequence[int], key: tuple[str, ...]
  ) -> None:
    self._known[key] = await self._ordered(task, [answers[index] for index in order])

  def _orders(self, count: int) -> list[list[int]]:
    """The lists that are shown: each piece forwards and backwards."""
    number = -(-count // self._most)
    pieces = [list(range(start, count, number)) for start in range(number)]
    return [order for piece in pieces for order in (piece, piece[::-1]) if len(piece) > 1]

  def so_far(self, task: Task, answers: Sequence[Answer]) -> Ranking:
    keys = [content(task, answer) for answer in answers]
    asked = self._orders(len(answers))
    found = [self._known.get(tuple(keys[index] for index in order), 'not asked') for order in asked]
    places: list[list[float]] = [[] for _ in answers]
    words: list[list[str]] = [[] for _ in answers]
    for order, said in zip(asked, found):
      if isinstance(said, str):
        for index in order:
          words[index].append(said)
        continue
      for rank, place in enumerate(said):
        index = order[place]
        places[index].append(1 - rank / (len(said) - 1))
        words[index].append(f'{rank + 1} of {len(said)}')
    values = [sum(one) / len(one) if one else None for one in places]
    lost = sum(isinstance(said, str) for said in found)
    return ranking(values, [', '.join(one) for one in words], lost)

  async def _ordered(self, task: Task, shown: Sequence[Answer]) -> list[int] | str:
    """The indices, best first, or why there is no order."""
    characters, pictures = self._bounds
    labels = _LABELS[: len(shown)]
    fields = {f'place {number}': tuple(labels) for number in range(1, len(shown) + 1)}
    values: dict[str, str | tuple[Part, ...]] = {
      'rule': views.rule(task.image_rule),
      'request': views.request(task, characters, pictures),
    }

    def request(code: str) -> ChatRequest:
      listed: list[Part] = []
      for label, answer in zip(labels, shown):
        listed.append(TextPart(f'BEGIN DOCUMENT {label} {code}\n'))
        listed += views.seen(answer, characters, pictures)
        listed.append(TextPart(f'\nEND DOCUMENT {label} {code}\n\n'))
      form = verdict_form.ask('lines', code, fields)
      filled = values | {'answers': tuple(listed), 'code': code, 'form': form}
      return ChatRequest(self._template.messages(filled), *self._sampling)

    code = hashlib.sha256(request('').digest('', 0).encode()).hexdigest()[:12]
    try:
      reply = await self._complete(request(code))
      read = verdict_form.read(reply.text, 'lines', code, fields, whole=reply.finish != 'length')
      named = [read.values[place] for place in fields]
      if sorted(named) != sorted(labels):
        raise Unreadable('ambiguous', 'it gives two places to one document.')
    except (ServiceFault, Unreadable) as fault:
      return f'{fault.cause}: {fault}'
    return [labels.index(name) for name in named]
