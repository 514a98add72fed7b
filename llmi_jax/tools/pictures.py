"""Pictures in the replies of remote providers: inline as base64, or behind an address to be fetched."""

import asyncio
import base64
import binascii
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Candidate
from llmi_jax.services import images
from llmi_jax.services.download import Downloader
from llmi_jax.services.faults import ServiceFault

T = TypeVar('T')
MOST = 16  # pictures of one reply that are looked at


class Sent(NamedTuple):
  """A picture as a reply has it: one of the two is empty."""

  encoded: str
  url: str


def sent(entries: Any) -> list[Sent]:
  """Reads a list of `{"b64_json": …}` or `{"url": …}`.

  Raises:
    ValueError: it is none, or empty.
  """
  found = [Sent(str(entry.get('b64_json') or ''), str(entry.get('url') or '')) for entry in entries[:MOST]]
  if not found or not all(one.encoded or one.url for one in found):
    raise ValueError('no picture')
  return found


async def take(
  found: Sequence[Sent], downloader: Downloader, *, until: float, source: str
) -> list[Candidate]:
  """Decodes or fetches all of them, in order.

  Raises:
    ServiceFault: one cannot be had, or is no picture.
  """

  async def one(picture: Sent) -> Image:
    if picture.encoded:
      return await decode(picture.encoded, source)
    return await downloader.picture(picture.url, until=until, source=source)

  return [Candidate(image) for image in await together(one(picture) for picture in found)]


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
  """The results of all, in order; the first failure stops the others and is raised."""
  tasks = [asyncio.ensure_future(one) for one in work]
  try:
    return await asyncio.gather(*tasks)
  except BaseException:
    for task in tasks:
      task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    raise


async def decode(encoded: str, source: str) -> Image:
  """A picture from base64, with or without the head of a data URL.

  Raises:
    ServiceFault: `garbage`.
  """
  _, _, data = encoded.rpartition('base64,')
  try:
    return await asyncio.to_thread(images.decode, base64.b64decode(data, validate=True), source=source)
  except (binascii.Error, ValueError, DataError) as error:
    raise ServiceFault('garbage', f'What came is no picture: {error}', transient=False) from error


def encode(image: Image) -> str:
  """A picture as base64 of its PNG."""
  return base64.b64encode(image.png).decode()
