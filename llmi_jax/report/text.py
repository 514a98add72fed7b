"""Hostile text made safe to show: nothing in it runs, loads, hides or reorders what stands around it.

Three walls: markdown-it renders with raw HTML off and pictures as text, nh3 lets only the tags below
through, and the page's Content-Security-Policy forbids everything else.
"""

import json
import re
import unicodedata
from collections.abc import Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

LIMIT = 12_000  # characters of one text; what is cut is said
_GROWTH = (
  10  # Markdown that becomes longer than this many times itself, as a table of empty cells can, stays text
)

_TAGS = {'p', 'br', 'hr', 'em', 'strong', 's', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li', 'a'}
_TAGS |= {'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td'}
_ISOLATED = ('p', 'li', 'blockquote', 'h2', 'h3', 'h4', 'h5', 'h6', 'th', 'td')
_DIRECTION = {tag: {'dir': 'auto'} for tag in _ISOLATED}

# Characters that reorder, hide or smuggle text: controls, bidi marks, zero widths, tags, lone surrogates.
_HIDDEN = re.compile(
  '[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb'
  '\ud800-\udfff\U000e0000-\U000e007f]'
)
# Joiners are letters' business between characters beyond ASCII (Persian, Hindi, emoji), else a hiding place.
_JOINER = re.compile('(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])')
_CONTROLS = {0: 'NULL', 7: 'BELL', 8: 'BACKSPACE', 12: 'FORM FEED', 13: 'CARRIAGE RETURN', 27: 'ESCAPE'}


def reveal(text: str) -> str:
  """Writes invisible and direction-changing characters by number and name."""
  text = text.replace('\r\n', '\n')
  return _JOINER.sub(_name, _HIDDEN.sub(_name, text))


def cut(text: str, limit: int = LIMIT) -> tuple[str, str]:
  """The first `limit` characters, and a sentence about the rest, empty where there is none."""
  if len(text) <= limit:
    return text, ''
  return text[:limit], f'Cut: {limit:,} of {len(text):,} characters are shown.'


def prose(text: str, limit: int = LIMIT, heading: int = 4) -> Markup:
  """A model's Markdown as HTML.

  Args:
    text: the model's words.
    limit: characters shown.
    heading: the level that its first-level headings get; deeper ones follow, down to six.
  """
  shown, note = cut(text, limit)
  html = _MARKDOWN.render(reveal(shown), {'heading': heading})
  clean = nh3.clean(
    html,
    tags=_TAGS,
    attributes={'a': {'href'}},
    attribute_filter=_kept,
    set_tag_attribute_values=_DIRECTION,
    url_schemes={'http', 'https'},
    link_rel='noopener noreferrer nofollow',
  )
  if len(clean) > _GROWTH * max(len(shown), 1000):
    note = f'Shown as it stands: as Markdown it would be {len(clean):,} characters long. {note}'.strip()
    return Markup('<p dir="auto">{}</p>{}').format(reveal(shown), _note(note))
  return Markup(clean) + _note(note)


def plain(text: str, limit: int = LIMIT) -> Markup:
  """Text as it stands, in its own direction, apart from its surroundings."""
  shown, note = cut(text, limit)
  return Markup('<bdi>{}</bdi>{}').format(reveal(shown), _note(note))


def attribute(text: str, limit: int = 300) -> str:
  """One line for an `alt` or `title`, not yet escaped."""
  line = ' '.join(reveal(text).split())
  return line if len(line) <= limit else line[: limit - 1] + '…'


def parameters(text: str) -> list[tuple[str, str]]:
  """Names and values of a JSON object, for people."""
  values = json.loads(text)
  return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]


def link(address: str) -> bool:
  """Whether an address may stand behind a link."""
  return bool(re.match(r'https?://[^\s<>"]+$', address)) and not _HIDDEN.search(address)


def _kept(tag: str, attribute: str, value: str) -> str | None:
  """An attribute's value; links lead to the web or nowhere, a path on the reader's disk included."""
  return value if attribute != 'href' or link(value) else None


def _note(words: str) -> Markup:
  return Markup('<span class="cut">{}</span>').format(words) if words else Markup('')


def _name(match: re.Match[str]) -> str:
  character = match[0]
  number = ord(character)
  name = unicodedata.name(character, '') or _CONTROLS.get(number, '')
  if not name and 0xD800 <= number <= 0xDFFF:
    name = 'SURROGATE'
  return f'⟦U+{number:04X} {name or "CONTROL"}⟧'


def _shift_headings(state: StateCore) -> None:
  shift = state.env.get('heading', 4) - 1
  for token in state.tokens:
    if token.type in ('heading_open', 'heading_close'):
      token.tag = f'h{min(6, int(token.tag[1]) + shift)}'


def _as_written(
  renderer: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
  """A picture in Markdown is shown as its source: only tools put pictures into documents."""
  token = tokens[index]
  return str(escape(f'![{token.content}]({token.attrs["src"]})'))


def _markdown() -> MarkdownIt:
  markdown = MarkdownIt('js-default')
  markdown.core.ruler.push('shift_headings', _shift_headings)
  markdown.add_render_rule('image', _as_written)
  return markdown


_MARKDOWN = _markdown()
