"""The fifth stage: the text around the pictures is rewritten by one who sees them, or reads what they show.

The pictures stay: each is a mark that must come back once, in order. A reply that loses a mark, writes a tag,
has worse manners than the text before, or would read otherwise is refused, and the unpolished answer stands.
"""

import asyncio
import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence

from llmi_jax.core.answer import Answer, Gap, Picture, Prose, Revision
from llmi_jax.core.document import ToolCall
from llmi_jax.core.task import ImagePart, Part, Task, TextPart
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.judges import prompt, views
from llmi_jax.judges.quoting import quote, reserved
from llmi_jax.rewards import hygiene
from llmi_jax.services.completion import ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts import places
from llmi_jax.tts.crew import Crew, Polisher
from llmi_jax.tts.ledger import Complete
from llmi_jax.tts.listing import TEMPLATES
from llmi_jax.tts.settings import Plan
from llmi_jax.tts.stage import Keep
from llmi_jax.tts.tree import Fate, Tree

NAME = 'polish'
PAPER_SECONDS = 16.0  # an iteration, as the paper reports (LLM-I §5.3)
_PLACES = frozenset({'code', 'request', 'rule', 'answer'})
_CHARACTERS, _WORDS = 24_000, 400
_DEBRIS = re.compile(r'</?(?:imgen|think)>|\[\[|\]\]')
_GROWTH, _ALLOWED = 4, 2_000  # a text may become so many times as long, and so many characters longer


class Refused(Exception):
  """A reply that is no polished answer; its message is one sentence."""


async def polish(task: Task, tree: Tree, crew: Crew, plan: Plan, keep: Keep) -> Tree:
  """Those that go on, and beside each its polished revision, which the last stage may prefer."""
  assert plan.polish is not None and crew.polisher is not None
  for _ in range(plan.polish.rounds):
    base, found = tree, dict[int, Answer | str]()

    async def one(index: int, base: Tree = base, found: dict[int, Answer | str] = found) -> None:
      found[index] = await _polished(task, base.answer(index), crew)
      keep(_grown(base, found))

    await asyncio.gather(*(one(index) for index in _newest(base)))
    tree = _grown(base, found)
  return tree


def _grown(tree: Tree, found: Mapping[int, Answer | str]) -> Tree:
  """In order of rank, whoever ended first."""
  for index in [index for index in tree.live if index in found]:
    made, new = found[index], len(tree.revisions)
    if isinstance(made, str):
      tree = tree.decided(tree.live, [Fate(index, NAME, True, f'Its polishing was refused: {made}')])
      continue
    tree = tree.grown([Revision(made, index, NAME, why='Its text was rewritten around its pictures.')])
    tree = tree.decided((*tree.live, new), [Fate(new, NAME, True, 'It keeps marks, image rule and manners.')])
  return tree


def _newest(tree: Tree) -> list[int]:
  """Of each line the last one that goes on."""
  parents = {tree.revisions[index].parent for index in tree.live if tree.revisions[index].stage == NAME}
  return [index for index in tree.live if index not in parents]


async def _polished(task: Task, answer: Answer, crew: Crew) -> Answer | str:
  """The answer with its text rewritten, or why there is none."""
  assert crew.polisher is not None
  try:
    return rewritten(task, answer, await crew.polisher(task, answer), crew.specs)
  except ServiceFault as fault:
    return f'{fault.cause}: {fault}'
  except Refused as why:
    return str(why)


def code(answer: Answer) -> str:
  """Stands in the marks of an answer's pictures; its writer cannot know it."""
  parts = '\0'.join(part.text if isinstance(part, Prose) else repr(part.position) for part in answer.parts)
  return hashlib.sha256(f'{answer.task_id}\0{parts}'.encode('utf-8', 'replace')).hexdigest()[:8]


def marked(answer: Answer, sees: bool) -> tuple[Part, ...]:
  """The answer with a mark in the place of each picture, followed by the picture or by words about it."""
  key, number, shown = code(answer), 0, list[Part]()
  for part in answer.parts:
    if isinstance(part, Prose):
      shown.append(TextPart(quote(part.text, _CHARACTERS)))
      continue
    number += 1
    shown.append(TextPart(f'\n[[{number}:{key}]]\n'))
    if isinstance(part, Picture) and sees:
      shown.append(ImagePart(part.image))
    else:
      shown.append(TextPart(f'({quote(described(part), _WORDS)})\n'))
  return tuple(shown)


def described(part: Picture | Gap) -> str:
  """What a picture shows, as far as words say."""
  if isinstance(part, Gap):
    return part.words
  words = [part.call.description] if isinstance(part.call, ToolCall) and part.call.description else []
  if part.outcome is not None and part.outcome.candidates and part.outcome.candidates[0].caption:
    words.append(part.outcome.candidates[0].caption)
  return f'a picture: {"; ".join(words)}' if words else 'a picture'


def rewritten(task: Task, answer: Answer, reply: str, specs: Sequence[ToolSpec]) -> Answer:
  """The answer with a reply's text.

  Raises:
    Refused: the reply breaks a rule.
  """
  slots = [part for part in answer.parts if not isinstance(part, Prose)]
  pieces = re.split(rf'\[\[(\d+):{code(answer)}\]\]', reply.strip())
  texts, numbers = pieces[::2], pieces[1::2]
  if numbers != [str(number) for number in range(1, len(slots) + 1)]:
    raise Refused(f'its marks are {", ".join(numbers) or "gone"}; wanted are 1 to {len(slots)} in order.')
  prose = ' '.join(texts)
  if debris := [*_DEBRIS.findall(prose), *reserved(prose)]:
    raise Refused(f'it writes {debris[0]!r}.')
  _check(task, answer, prose)
  return _joined(answer, texts, slots, specs)


def _check(task: Task, answer: Answer, prose: str) -> None:
  old = ' '.join(part.text for part in answer.parts if isinstance(part, Prose))
  if len(prose) > _GROWTH * len(old) + _ALLOWED:
    raise Refused(f'its text has {len(prose):,} characters, and had {len(old):,}.')
  before = {_kind(words) for words in hygiene.breaches(old, False)}
  if new := [words for words in hygiene.breaches(prose, False) if _kind(words) not in before]:
    raise Refused(f'its text has worse manners than before ({new[0]}).')
  if prose.split() == old.split():
    raise Refused('it is the same text.')


def _kind(breach: str) -> str:
  return breach.partition(':')[0]


def _joined(
  answer: Answer, texts: Sequence[str], slots: Sequence[Picture | Gap], specs: Sequence[ToolSpec]
) -> Answer:
  """Texts and slots in turn, read again as a response where the answer is one."""
  if answer.document is None:
    parts: list[Prose | Picture | Gap] = []
    for text, slot in zip(texts, [*slots, None]):
      parts += [Prose(text)] if text else []
      parts += [slot] if slot else []
    return dataclasses.replace(answer, parts=tuple(parts), verdicts=(), reward=None, usage=())
  raws = [slot.call.raw if slot.call else '' for slot in slots]
  response = ''.join(text + raw for text, raw in zip(texts, [*raws, '']))
  document = places.reread(response, answer.document, specs)
  if document is None:
    raise Refused('its text would change how the tags are read.')
  made = places.rebuilt(answer, document, places.outcomes(answer))
  if len(made.pictures) != len(answer.pictures):
    raise Refused('it would lose a picture.')
  return made


def polisher(
  complete: Complete, sees: bool, temperature: float = 0.3, tokens: int = 4096, inputs: int = 4
) -> Polisher:
  """Asks a chat model.

  Args:
    complete: asks.
    sees: whether it is shown pictures; else it reads what they show.
    temperature: of sampling.
    tokens: most of a reply.
    inputs: pictures of the request that are shown.
  """
  template = prompt.load(str(TEMPLATES / 'polish.md'), _PLACES)

  async def ask(task: Task, answer: Answer) -> str:
    values: dict[str, str | tuple[Part, ...]] = {
      'code': code(answer),
      'request': views.request(task, _CHARACTERS, inputs if sees else 0),
      'rule': views.rule(task.image_rule),
      'answer': marked(answer, sees),
    }
    return (await complete(ChatRequest(template.messages(values), temperature, tokens))).text

  return ask
