"""The outer page: one stylesheet and one script inlined, and a policy that allows nothing else."""

import base64
import functools
import hashlib
import pathlib
from collections.abc import Sequence

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
    'signed': charts.signed,
  }
  made.tests['link'] = text.link
  return made


def page(title: str, body: Markup, images: str = 'data:') -> str:
  """A whole page that needs nothing from anywhere.

  Args:
    title: of the window.
    body: what it shows.
    images: where pictures may come from, as the policy has it.
  """
  return _filled(title, body, policy(('script.js',), images), ('script.js',))


def live(title: str, body: Markup) -> tuple[str, str]:
  """A page that a server of ours gives out, which asks that server alone; and its policy, for a header."""
  scripts = ('script.js', 'viewer.js')
  allowed = policy(scripts, "'self' data:", connect="'self'", form="'self'")
  return _filled(title, body, allowed, scripts), f"{allowed}; frame-ancestors 'none'"


def policy(scripts: Sequence[str], images: str, connect: str = '', form: str = "'none'") -> str:
  """A Content-Security-Policy that lets one stylesheet and one script in, by their hashes."""
  rules = [
    "default-src 'none'",
    f'img-src {images}',
    f"style-src '{_hash(_inline('style.css'))}'",
    f"script-src '{_hash(_joined(scripts))}'",
    *([f'connect-src {connect}'] if connect else []),
    "base-uri 'none'",
    f'form-action {form}',
  ]
  return '; '.join(rules)


def _filled(title: str, body: Markup, allowed: str, scripts: Sequence[str]) -> str:
  return (
    environment()
    .get_template('shell.html')
    .render(
      title=text.attribute(title),
      policy=allowed,
      style=Markup(_inline('style.css')),
      script=Markup(_joined(scripts)),
      body=body,
    )
  )


def _joined(scripts: Sequence[str]) -> str:
  return ''.join(map(_inline, scripts))


@functools.cache
def _inline(name: str) -> str:
  return (_FOLDER / name).read_text(encoding='utf-8')


def _hash(content: str) -> str:
  return 'sha256-' + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
