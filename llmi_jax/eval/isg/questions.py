"""What ISG-Bench asks a judge about one answer.

The reference's defects, kept in `repo`: every question with a prerequisite is skipped and counts as no, since
it looks for numbers among names; each relation question is asked twice, under a requirement of yes or no as
well; in a question about a text and a picture the text's content is replaced, not its name; one picture that
cannot be read wipes the item.
"""

from collections.abc import Sequence
from typing import NamedTuple

from llmi_jax.core.answer import Answer, Picture, Prose
from llmi_jax.core.task import ImagePart, Message, Part, TextPart
from llmi_jax.eval import framing
from llmi_jax.eval.calls import Call, Form
from llmi_jax.eval.forms import Json
from llmi_jax.eval.isg import replies
from llmi_jax.eval.isg.records import Payload, Question
from llmi_jax.eval.official import Isg as Official
from llmi_jax.eval.record import Mode, Record
from llmi_jax.services.completion import ChatRequest

Output = tuple[Part | None, ...]
HOLISTIC = 'holistic'


class Kept(NamedTuple):
  """A relation question that can be asked.

  Attributes:
    number: in the record, from 0.
    first: the subject.
    second: the object.
    names: of both.
    words: the question.
  """

  number: int
  first: Part
  second: Part
  names: tuple[str, str]
  words: str


def output(answer: Answer, mode: Mode) -> Output:
  """An answer as a sequence of texts and pictures; None for a foreign picture that cannot be read.

  Neighbouring texts are one and blank ones none, but for foreign answers in `repo`, which are taken as they
  stand. A picture that a tool failed to make is not there.
  """
  if mode == 'repo' and answer.document is None:
    return tuple(
      TextPart(p.text) if isinstance(p, Prose) else ImagePart(p.image) if isinstance(p, Picture) else None
      for p in answer.parts
    )
  made: list[Part] = []
  for part in answer.parts:
    last = made[-1] if made else None
    if isinstance(part, Picture):
      made.append(ImagePart(part.image))
    elif isinstance(part, Prose) and isinstance(last, TextPart):
      made[-1] = TextPart(last.text + part.text)
    elif isinstance(part, Prose) and part.text.strip():
      made.append(TextPart(part.text))
  return tuple(TextPart(p.text.strip()) if isinstance(p, TextPart) else p for p in made)


def kinds(parts: Sequence[Part | None]) -> tuple[str, ...]:
  """`text` or `image`, part by part."""
  return tuple('text' if isinstance(part, TextPart) else 'image' for part in parts)


def is_right(found: Output, payload: Payload) -> bool:
  """Whether the structure is the golden one."""
  return kinds(found) == kinds(payload.golden)


def named(found: Output, payload: Payload) -> dict[str, Part | None]:
  """Texts and pictures by the names that questions use."""
  names: dict[str, Part | None] = {}
  for prefix, parts in (('gen', found), ('query', payload.query)):
    counts = {'text': 0, 'image': 0}
    for part, kind in zip(parts, kinds(parts)):
      counts[kind] += 1
      names[f'<{prefix}_{"text" if kind == "text" else "img"}{counts[kind]}>'] = part
  return names


class Asker:
  """Words the questions of one record and answer."""

  def __init__(
    self, record: Record, found: Output, mode: Mode, official: Official | None, temperature: float
  ):
    self._payload: Payload = record.task.payload
    self._found, self._official = found, official
    self._mode: Mode = mode
    self._temperature = temperature
    self._names = named(found, self._payload)
    self.right = is_right(found, self._payload)
    self.wiped = ''

  def calls(self) -> tuple[Call, ...]:
    """All questions; none about a picture that cannot be read, of which `wiped` tells in `repo`."""
    asked: list[Call] = []
    if self.right:
      for question in _in_order(self._payload.questions or ()):
        asked += self._image(question)
      for kept in self.relations():
        asked += self._relation(kept)
    if self.wiped:
      return ()
    whole = None not in (*self._found, *self._payload.query, *self._payload.golden)
    return (*asked, self._holistic()) if whole else tuple(asked)

  def relations(self) -> list[Kept]:
    """Relation questions whose ends the answer has."""
    found = []
    for index, question in enumerate(self._payload.relations):
      names = str(question.get('subject')), str(question.get('object'))
      if 'Question' not in question or not all(name in self._names for name in names):
        continue
      first, second = (self._names[name] for name in names)
      if first is None or second is None:
        self.wiped = self.wiped or f'a picture of {names[0]} or {names[1]} cannot be read.'
      else:
        found.append(Kept(index, first, second, names, str(question['Question'])))
    return found

  def _image(self, question: Question) -> list[Call]:
    if question.image not in self._names or (self._mode == 'repo' and question.needs):
      return []
    part = self._names[question.image]
    if part is None:
      self.wiped = self.wiped or f'the picture {question.image} cannot be read.'
      return []
    needs = tuple(f'image {number}' for number in question.needs)
    if self._mode == 'fixed' and self._official is None:
      values = {'picture': framing.quoted([part], 'picture'), 'question': question.words}
      request, form, digest = framing.strict('isg_image', values, {'judge': ('Yes', 'No')}, self._temperature)
    else:
      request, form, digest = self._image_json(part, question.words)
    return [Call(f'image {question.id}', request, form, digest, needs, question.words)]

  def _image_json(self, part: Part, words: str) -> tuple[ChatRequest, Form, str]:
    form = Json(replies.yes_or_no(self._mode), self._mode == 'fixed', repaired=self._mode == 'fixed')
    if self._official is not None:
      template = self._official.image
      return self._said((part, TextPart(template.format(question=words)))), form, framing.wording(template)
    values = {'picture': (part,), 'question': words}
    request, digest = framing.loose('isg_image_json', values, replies.YES_OR_NO, self._temperature)
    return request, form, digest

  def _relation(self, kept: Kept) -> list[Call]:
    name, about = f'block {kept.number}', f'{kept.words} ({kept.names[0]}, {kept.names[1]})'
    if self._mode == 'fixed' and self._official is None:
      words = kept.words.replace(kept.names[0], 'FIRST').replace(kept.names[1], 'SECOND')
      values = {
        'first': framing.quoted([kept.first], 'picture'),
        'second': framing.quoted([kept.second], 'picture'),
        'question': words,
      }
      scale = {'judge': replies.TEN}
      request, form, digest = framing.strict('isg_block', values, scale, self._temperature)
      return [Call(name, request, form, digest, about=about)]
    wanted = ('Score', 'Yes_No') if self._mode == 'repo' else ('Score',)
    made = []
    for requirement in wanted:
      request, digest = self._relation_json(kept, requirement)
      form = Json(replies.grade(self._mode), self._mode == 'fixed', repaired=self._mode == 'fixed')
      made.append(Call(name if requirement == 'Score' else f'{name} yes', request, form, digest, about=about))
    return made

  def _relation_json(self, kept: Kept, requirement: str) -> tuple[ChatRequest, str]:
    texts = [p.text for p in (kept.first, kept.second) if isinstance(p, TextPart)]
    shown = tuple(p for p in (kept.first, kept.second) if isinstance(p, ImagePart))
    words = self._worded(kept, texts)
    if self._official is None:
      form = replies.SCORE if requirement == 'Score' else replies.YES_OR_NO
      values = {
        'pictures': shown,
        'texts': '\n\n'.join(f'Text {i}: {text}' for i, text in enumerate(texts, 1)) or 'No text.',
        'question': words,
      }
      return framing.loose('isg_block_json', values, form, self._temperature)
    wanted = self._official.requirements[requirement]
    if len(texts) == 2:
      template = self._official.text_text
      filled = template.format(requirement=wanted, text1=texts[0], text2=texts[1], question=words)
    elif texts:
      template = self._official.text_image
      filled = template.format(requirement=wanted, text=texts[0], question=words)
    else:
      template = self._official.image_image
      filled = template.format(requirement=wanted, question=words)
    return self._said((*shown, TextPart(filled))), framing.wording(template, wanted)

  def _worded(self, kept: Kept, texts: Sequence[str]) -> str:
    """The question with names of texts replaced, as the reference does or means to do."""
    first, second = kept.names
    if len(texts) == 2:
      return kept.words.replace(first, ' `Text 1` ').replace(second, ' `Text 2` ')
    if not texts:
      return kept.words
    name = first if isinstance(kept.first, TextPart) else second
    # An empty text would match everywhere.
    replaced = texts[0] or name if self._mode == 'repo' else name
    return kept.words.replace(replaced, ' `Text` ')

  def _holistic(self) -> Call:
    query, found, golden = self._payload.query, self._found, self._payload.golden
    if self._mode == 'fixed' and self._official is None:
      values = {
        'request': framing.quoted(_whole(query), 'given picture'),
        'answer': framing.quoted(_whole(found), 'picture'),
        'golden': framing.quoted(_whole(golden), 'reference picture'),
      }
      scale: dict[str, tuple[str, ...]] = {name: replies.TEN for name in replies.DIMENSIONS}
      request, form, digest = framing.strict('isg_holistic', values, scale, self._temperature)
      return Call(HOLISTIC, request, form, digest, about='the whole answer')
    form = Json(replies.overall(self._mode), self._mode == 'fixed', repaired=self._mode == 'fixed')
    texts = [_flat(parts) for parts in (query, found, golden)]
    if self._official is not None:
      one, two, three, four = (TextPart(text.replace('\n', ' ')) for text in self._official.holistic)
      parts = (one, *texts[0], two, *texts[1], three, *texts[2], four)
      request, digest = self._said(parts), framing.wording(*self._official.holistic)
    else:
      asked, answer, golden = map(framing.user, texts)
      values: framing.Values = {'request': asked, 'answer': answer, 'golden': golden}
      request, digest = framing.loose('isg_holistic_json', values, replies.OVERALL, self._temperature)
    return Call(HOLISTIC, request, form, digest, about='the whole answer')

  def _said(self, parts: Sequence[Part]) -> ChatRequest:
    return ChatRequest((Message('user', framing.user(parts)),), self._temperature, framing.TOKENS)


def _whole(parts: Output) -> list[Part]:
  return [part for part in parts if part is not None]


def _flat(parts: Output) -> list[Part]:
  """Lines joined, as the reference does."""
  whole = _whole(parts)
  return [TextPart(p.text.replace('\n', ' ')) if isinstance(p, TextPart) else p for p in whole]


def _in_order(questions: Sequence[Question]) -> list[Question]:
  """Questions behind those that they presuppose, else in the record's order; numbers of none are dropped."""
  known = {question.id for question in questions}
  left = [q._replace(needs=tuple(n for n in q.needs if n in known)) for q in questions]
  if len(known) < len(questions):
    return left
  done: list[Question] = []
  while left:
    ready = [q for q in left if all(any(d.id == n for d in done) for n in q.needs)] or left
    done += ready
    left = [q for q in left if q not in ready]
  return done
