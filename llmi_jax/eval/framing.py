"""How judges are shown what they judge: our own prompts, quoted material, small pictures."""

import functools
import hashlib
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image as Pil

from llmi_jax.core.answer import Answer
from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, Message, Part, TextPart
from llmi_jax.eval.forms import Lines
from llmi_jax.judges import prompt, views
from llmi_jax.judges.prompt import Template
from llmi_jax.judges.quoting import quote
from llmi_jax.judges.verdict_form import Fields, ask
from llmi_jax.services import images
from llmi_jax.services.completion import ChatRequest

PROMPTS = pathlib.Path(__file__).parent / 'prompts'
CHARACTERS = 60_000  # of one text that judges are shown
PICTURES = 24  # of one answer, and of one request
TOKENS = 2048  # of a judge's reply

Values = Mapping[str, str | tuple[Part, ...]]


@functools.cache
def template(name: str, places: frozenset[str]) -> Template:
  """One of our own prompts, by the name of its file."""
  return prompt.load(str(PROMPTS / f'{name}.md'), places)


def strict(name: str, values: Values, fields: Fields, temperature: float) -> tuple[ChatRequest, Lines, str]:
  """A question in our words and our form, with a code that what is judged cannot know.

  Args:
    name: of the prompt.
    values: what fills its places, `code` and `form` aside.
    fields: grades and allowed words.
    temperature: of the judge.

  Returns:
    Request, form of the reply, and hash of the wording.
  """
  used = template(name, frozenset({*values, 'code', 'form'}))
  build = lambda code: ChatRequest(
    used.messages({**values, 'code': code, 'form': ask('lines', code, fields)}), temperature, TOKENS
  )
  code = hashlib.sha256(build('').digest('', 0).encode()).hexdigest()[:12]
  return build(code), Lines(code, fields), wording(used.digest, ask('lines', '', fields))


def loose(name: str, values: Values, form: str, temperature: float) -> tuple[ChatRequest, str]:
  """A question in our words, answered in a reference's form; request and hash of the wording."""
  used = template(name, frozenset({*values, 'code', 'form'}))
  request = ChatRequest(used.messages({**values, 'code': 'LIMITS', 'form': form}), temperature, TOKENS)
  return request, wording(used.digest, form)


def wording(*texts: str) -> str:
  """16 hex digits of what words a question."""
  return hashlib.sha256('\x00'.join(texts).encode()).hexdigest()[:16]


def seen(answer: Answer | None, characters: int = CHARACTERS, most: int = PICTURES) -> tuple[Part, ...]:
  """An answer as a reader sees it, quoted."""
  if answer is None or not answer.parts:
    return (TextPart('[the answer is empty]'),)
  return views.seen(answer, characters, most)


def asked(
  messages: Iterable[Message], characters: int = CHARACTERS, most: int = PICTURES
) -> tuple[Part, ...]:
  """A request with its pictures in their places, quoted."""
  return quoted([part for message in messages for part in message.content], 'given picture', characters, most)


def quoted(
  parts: Sequence[Part], name: str, characters: int = CHARACTERS, most: int = PICTURES
) -> tuple[Part, ...]:
  """Texts and pictures in order, pictures numbered from 0 under `name`."""
  found: list[Part] = []
  number, left = 0, characters
  for part in parts:
    if isinstance(part, TextPart):
      text = quote(part.text, max(left, 300))
      left -= len(text)
      found.append(TextPart(text))
    elif number < most:
      found += [TextPart(f'\n[{name} {number}]\n'), part]
      number += 1
    else:
      found.append(TextPart(f'\n[a picture more, not shown: at most {most} are]\n'))
  return tuple(found)


def joined(parts: Iterable[Part]) -> list[Part]:
  """Neighbouring texts as one."""
  found: list[Part] = []
  for part in parts:
    last = found[-1] if found else None
    if isinstance(part, TextPart) and isinstance(last, TextPart):
      found[-1] = TextPart(last.text + part.text)
    else:
      found.append(part)
  return found


def user(parts: Iterable[Part]) -> tuple[Part, ...]:
  """Neighbouring texts joined; texts that are too long are cut at their end."""
  return tuple(TextPart(p.text[: 4 * CHARACTERS]) if isinstance(p, TextPart) else p for p in joined(parts))


def squashed(image: Image, side: int = 512) -> Image:
  """The picture at `side`×`side` pixels whatever its shape, as a JPEG file has it (OpenING's scorer)."""
  return jpeg(images.to_pil(image).resize((side, side)), image.source)


def jpeg(picture: Pil.Image, source: str = 'input') -> Image:
  """The picture as a JPEG file of Pillow's own quality has it; sent without further loss."""
  buffer = io.BytesIO()
  picture.save(buffer, 'JPEG')
  return images.decode(buffer.getvalue(), source=source)


def pictures(parts: Iterable[Part]) -> list[Image]:
  """The pictures among parts."""
  return [part.image for part in parts if isinstance(part, ImagePart)]
