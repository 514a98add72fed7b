"""The outer page: one stylesheet and one script inlined, and a policy that allows nothing else."""

import base64
import functools
import hashlib
import pathlib

import jinja2
from markupsafe import Markup

from llmi_jax.report import charts, colours, text

_FOLDER = pathlib.Path(__file__).parent / 'templates'


@functools.cache
def environment() -> jinja2.Environment:
  """The templates; everything that is not `Markup` is escaped."""
  made = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  made.filters |= {
    'attribute': text.attribute,
    'hue': colours.of,
    'number': charts.number,
    'plain': text.plain,
    'prose': text.prose,
  }
  made.tests['link'] = text.link
  return made


def page(title: str, body: Markup) -> str:
  """A whole page that needs nothing from anywhere."""
  style, script = _inline('style.css'), _inline('script.js')
  policy = '; '.join(
    (
      "default-src 'none'",
      'img-src data:',
      f"style-src '{_hash(style)}'",
      f"script-src '{_hash(script)}'",
      "base-uri 'none'",
      "form-action 'none'",
    )
  )
  template = environment().get_template('shell.html')
  return template.render(
    title=text.attribute(title), policy=policy, style=Markup(style), script=Markup(script), body=body
  )


@functools.cache
def _inline(name: str) -> str:
  return (_FOLDER / name).read_text(encoding='utf-8')


def _hash(content: str) -> str:
  return 'sha256-' + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
