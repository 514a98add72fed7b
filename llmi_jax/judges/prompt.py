"""Judge prompts: files with a system and a user section and places in double braces, hashed as they stand."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Message, Part, TextPart

TEMPLATES = pathlib.Path(__file__).parent / 'templates'
_PLACE = re.compile(r'\{\{(\w+)\}\}')
_SECTIONS = re.compile(r'\A# system\n(?P<system>.*?)^# user\n(?P<user>.*)\Z', re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Template:
  """A judge prompt.

  Attributes:
    system: the system message, with places for texts.
    user: the user message, with places for texts and pictures.
    digest: 16 hex digits of the file's SHA-256.
  """

  system: str
  user: str
  digest: str

  def messages(self, values: Mapping[str, str | tuple[Part, ...]]) -> tuple[Message, Message]:
    """The prompt with every place filled; what is filled in is not looked at again."""
    return (
      Message('system', tuple(_filled(self.system, values))),
      Message('user', tuple(_filled(self.user, values))),
    )


def load(name: str, places: frozenset[str]) -> Template:
  """A template by its name in `judges/templates`, or by its path.

  Args:
    name: such as `llm`, or a file.
    places: the places that the file must have.

  Raises:
    ConfigError: there is no such file, or it has not the form.
  """
  path = pathlib.Path(name) if '/' in name or name.endswith('.md') else TEMPLATES / f'{name}.md'
  try:
    text = path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    known = ', '.join(sorted(p.stem for p in TEMPLATES.glob('*.md')))
    raise ConfigError(f'The judge prompt {name!r} cannot be read ({error}); known are {known}.') from error
  found = _SECTIONS.match(text)
  if not found:
    raise ConfigError(f'{path} has not the sections "# system" and "# user", in this order; add them.')
  has = set(_PLACE.findall(text))
  if absent := sorted(places - has):
    raise ConfigError(f'{path} has no place {{{{{absent[0]}}}}}; add it.')
  if strange := sorted(has - places):
    raise ConfigError(f'{path} has a place {{{{{strange[0]}}}}} that nothing fills; remove it.')
  digest = hashlib.sha256(text.encode()).hexdigest()[:16]
  return Template(found['system'].strip(), found['user'].strip(), digest)


def _filled(text: str, values: Mapping[str, str | tuple[Part, ...]]) -> Iterator[Part]:
  """Neighbouring texts joined, pictures in their places."""
  pending = ''
  for index, piece in enumerate(_PLACE.split(text)):
    value = values[piece] if index % 2 else piece
    for part in (TextPart(value),) if isinstance(value, str) else value:
      if isinstance(part, TextPart):
        pending += part.text
      else:
        if pending:
          yield TextPart(pending)
        yield part
        pending = ''
  if pending:
    yield TextPart(pending)
