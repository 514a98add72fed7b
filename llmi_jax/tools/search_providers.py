"""What public image search services are asked, and how their replies read: one record per provider.

Wikimedia Commons and Openverse need no key and name author and licence; SerpApi (Google Images), Google's
Programmable Search and Brave need one and name the page alone.
"""

import dataclasses
import html
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import Attribution

MOST_QUERY = 300  # characters of a query that are sent
_LONGEST = 500


@dataclasses.dataclass(frozen=True)
class Hit:
  """One result, best first in its list.

  Attributes:
    url: of the picture.
    attribution: its credit, as far as the provider names it.
    caption: what the provider says it shows.
    pixels: width × height as announced; None where it is not.
  """

  url: str
  attribution: Attribution
  caption: str = ''
  pixels: int | None = None


@dataclasses.dataclass(frozen=True)
class Provider:
  """How to ask a service.

  Attributes:
    name: as configs have it.
    url: its base address.
    path: (query, count, key, engine) → path and query string.
    headers: key → further headers.
    read: JSON → hits, best first.
    keyed: whether it needs a key.
  """

  name: str
  url: str
  path: Callable[[str, int, str, str], str]
  read: Callable[[Any], list[Hit]]
  headers: Callable[[str], Mapping[str, str]] = lambda key: {}
  keyed: bool = False


def provider(name: str) -> Provider:
  """One of `PROVIDERS`.

  Raises:
    ConfigError: there is none of this name.
  """
  if name not in PROVIDERS:
    raise ConfigError(f'There is no search provider {name!r}; known are builtin, {", ".join(PROVIDERS)}.')
  return PROVIDERS[name]


def _address(path: str, **fields: str | int) -> str:
  return f'{path}?{urllib.parse.urlencode(fields)}'


def _plain(text: Any) -> str:
  """Markup, entities and line breaks taken out."""
  return ' '.join(html.unescape(re.sub(r'<[^<>]{0,2000}>', ' ', str(text or ''))).split())[:_LONGEST]


def _area(width: Any, height: Any) -> int | None:
  try:
    return int(width) * int(height) or None
  except (TypeError, ValueError):
    return None


def _commons_path(query: str, count: int, key: str, engine: str) -> str:
  del key, engine
  return _address(
    '/w/api.php',
    action='query',
    format='json',
    formatversion=2,
    generator='search',
    gsrsearch=f'{query} filetype:bitmap',
    gsrnamespace=6,
    gsrlimit=count,
    prop='imageinfo',
    iiprop='url|size|extmetadata',
    iiurlwidth=1280,
  )


def _commons(data: Any) -> list[Hit]:
  pages = sorted(data.get('query', {}).get('pages', []), key=lambda page: page.get('index', 0))
  hits = []
  for page in pages:
    info = page['imageinfo'][0]
    said = {name: _plain(entry.get('value')) for name, entry in info.get('extmetadata', {}).items()}
    title = re.sub(r'^File:|\.\w{2,5}$', '', str(page['title']))
    credit = Attribution(
      title, said.get('Artist', ''), said.get('LicenseShortName', ''), str(info.get('descriptionurl', ''))
    )
    # A scaled rendering, where there is one, spares both sides; the original's size is what counts.
    url = str(info.get('thumburl') or info['url'])
    size = _area(info.get('width'), info.get('height'))
    hits.append(Hit(url, credit, said.get('ImageDescription', ''), size))
  return hits


def _openverse_path(query: str, count: int, key: str, engine: str) -> str:
  del key, engine
  return _address('/v1/images/', q=query, page_size=min(count, 20), mature='false')


def _openverse(data: Any) -> list[Hit]:
  hits = []
  for entry in data['results']:
    licence = f'CC {entry.get("license", "")} {entry.get("license_version") or ""}'.strip()
    title = _plain(entry.get('title'))
    page = str(entry.get('foreign_landing_url') or '')
    credit = Attribution(title, _plain(entry.get('creator')), licence, page)
    tags = ' '.join(_plain(tag.get('name')) for tag in (entry.get('tags') or [])[:20])
    size = _area(entry.get('width'), entry.get('height'))
    hits.append(Hit(str(entry['url']), credit, ' '.join(filter(None, (title, tags))), size))
  return hits


def _serpapi_path(query: str, count: int, key: str, engine: str) -> str:
  del count, engine
  return _address('/search.json', engine='google_images', q=query, safe='active', ijn=0, api_key=key)


def _serpapi(data: Any) -> list[Hit]:
  if 'images_results' not in data and "hasn't returned any results" in str(data.get('error', '')):
    return []
  hits = []
  for entry in data['images_results']:
    if not entry.get('original'):
      continue
    title = _plain(entry.get('title'))
    credit = Attribution(title, _plain(entry.get('source')), '', str(entry.get('link') or ''))
    size = _area(entry.get('original_width'), entry.get('original_height'))
    hits.append(Hit(str(entry['original']), credit, title, size))
  return hits


def _google_path(query: str, count: int, key: str, engine: str) -> str:
  return _address(
    '/customsearch/v1', key=key, cx=engine, q=query, searchType='image', num=min(count, 10), safe='active'
  )


def _google(data: Any) -> list[Hit]:
  hits = []
  for entry in data.get('items', []):
    image = entry.get('image', {})
    title = _plain(entry.get('title'))
    page = str(image.get('contextLink') or '')
    credit = Attribution(title, _plain(entry.get('displayLink')), '', page)
    size = _area(image.get('width'), image.get('height'))
    hits.append(Hit(str(entry['link']), credit, _plain(entry.get('snippet')) or title, size))
  return hits


def _brave_path(query: str, count: int, key: str, engine: str) -> str:
  del key, engine
  return _address('/res/v1/images/search', q=query, count=count, safesearch='strict')


def _brave(data: Any) -> list[Hit]:
  hits = []
  for entry in data['results']:
    properties = entry.get('properties') or {}
    url = properties.get('url') or (entry.get('thumbnail') or {}).get('src')
    if not url:
      continue
    title = _plain(entry.get('title'))
    credit = Attribution(title, _plain(entry.get('source')), '', str(entry.get('url') or ''))
    size = _area(properties.get('width'), properties.get('height'))
    hits.append(Hit(str(url), credit, title, size))
  return hits


PROVIDERS: Mapping[str, Provider] = {
  one.name: one
  for one in (
    Provider('commons', 'https://commons.wikimedia.org', _commons_path, _commons),
    Provider('openverse', 'https://api.openverse.org', _openverse_path, _openverse),
    Provider('serpapi', 'https://serpapi.com', _serpapi_path, _serpapi, keyed=True),
    Provider('google', 'https://www.googleapis.com', _google_path, _google, keyed=True),
    Provider(
      'brave',
      'https://api.search.brave.com',
      _brave_path,
      _brave,
      lambda key: {'x-subscription-token': key, 'accept': 'application/json'},
      keyed=True,
    ),
  )
}
