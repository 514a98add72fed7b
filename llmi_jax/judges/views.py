"""How an answer looks to a judge: as written, tags and all, or as a reader sees it, pictures in place."""

from collections.abc import Iterator

from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.task import ImagePart, ImageRule, Part, Task, TextPart
from llmi_jax.judges.quoting import quote

_WORDS = 300  # characters of a gap's words


def written(answer: Answer, characters: int) -> tuple[Part, ...]:
  """The answer as its writer wrote it, thoughts left out."""
  parts = []
  for part in answer.parts:
    if isinstance(part, Prose):
      parts.append(part.text)
    elif part.call is not None:
      parts.append(part.call.raw)
    else:
      parts.append('[picture]' if isinstance(part, Picture) else '[no picture]')
  return (TextPart(quote(''.join(parts), characters)),)


def seen(answer: Answer, characters: int, pictures: int) -> tuple[Part, ...]:
  """The answer as a reader sees it, at most `pictures` of its pictures and about `characters` of its text."""
  return tuple(_seen(answer, characters, pictures))


def _seen(answer: Answer, characters: int, pictures: int) -> Iterator[Part]:
  left, shown = characters, 0
  for part in answer.parts:
    if isinstance(part, Prose):
      text = quote(part.text, max(left, _WORDS))
      left -= len(text)
      yield TextPart(text)
    elif isinstance(part, Gap):
      yield TextPart(f'\n[no picture here: {quote(part.words, _WORDS)}]\n')
    elif shown < pictures:
      shown += 1
      yield TextPart(f'\n[picture {shown}]\n')
      yield ImagePart(part.image)
    else:
      yield TextPart(f'\n[a picture more, not shown: at most {pictures} are]\n')


def request(task: Task, characters: int, inputs: int) -> tuple[Part, ...]:
  """What was asked: the judged question and, at most `inputs`, the pictures that came with it."""
  parts: list[Part] = [TextPart(quote(task.question, characters))]
  for number, image in enumerate(task.input_images[:inputs]):
    parts += [TextPart(f'\n[given picture {number}]\n'), ImagePart(image)]
  return tuple(parts)


def rule(image_rule: ImageRule) -> str:
  """The image rule in words."""
  words = {'none': 'none', 'free': 'any', 'at_least_one': 'at least one'}
  return words.get(image_rule.kind, f'exactly {image_rule.count}')
