"""Pictures as `data:` addresses, within a budget that the whole page shares."""

import base64
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.data.rollout import PictureRef
from llmi_jax.services import images

SIDE = 384  # pixels of a thumbnail's longer side


@dataclasses.dataclass(frozen=True)
class Shown:
  """A picture ready for a page.

  Attributes:
    address: a `data:` address; empty where there is none.
    missing: why, for people.
    width: pixels of the original.
    height: pixels of the original.
    file: where the original is, from the page; empty where it has none.
  """

  address: str
  missing: str
  width: int
  height: int
  file: str = ''

  @property
  def lazy(self) -> bool:
    """Whether the picture lies outside the page, and is better loaded once it is looked at."""
    return not self.address.startswith('data:')


class Pictures:
  """Makes thumbnails until the budget is spent; what is left out is counted and said in its place, or shown
  from the file beside the page where there is one."""

  def __init__(
    self, load: Callable[[PictureRef], Image | bytes], budget: int, side: int = SIDE, linked: bool = True
  ):
    """Args:
    load: finds a picture, or a WebP thumbnail that is ready; raises DataError where it is missing or broken.
    budget: characters that all addresses together may take.
    side: pixels of the longer side.
    linked: whether the originals lie beside the page.
    """
    self._load = load
    self._left = budget
    self._side = side
    self._linked = linked
    self._made: dict[str, str] = {}
    self.dropped = 0
    self.needed = 0
    self.spent = 0

  def show(self, ref: PictureRef) -> Shown:
    """The picture, or the reason why there is none."""
    file = ref.path if self._linked else ''
    try:
      address = self._address(ref)
    except DataError as error:
      return Shown('', str(error), ref.width, ref.height)
    self.needed += len(address)
    if len(address) > self._left:
      self.dropped += 1
      if file:
        return Shown(file, '', ref.width, ref.height, file)
      return Shown('', 'Left out to keep this page small.', ref.width, ref.height)
    self._left -= len(address)
    self.spent += len(address)
    return Shown(address, '', ref.width, ref.height, file)

  def _address(self, ref: PictureRef) -> str:
    if ref.sha256 not in self._made:
      found = self._load(ref)
      webp = found if isinstance(found, bytes) else images.thumbnail(found, self._side, 'WEBP')
      self._made[ref.sha256] = 'data:image/webp;base64,' + base64.b64encode(webp).decode()
    return self._made[ref.sha256]


def from_folder(workdir: str | os.PathLike) -> Callable[[PictureRef], Image]:
  """Loads pictures from a run's folder."""

  def load(ref: PictureRef) -> Image:
    if not re.fullmatch(r'[0-9a-f]{64}', ref.sha256):
      raise DataError('The picture has no proper name.')
    try:
      png = (pathlib.Path(workdir) / ref.path).read_bytes()
    except OSError as error:
      raise DataError(f'{ref.path} cannot be read: {error.strerror}.') from error
    return _image(ref, png)

  return load


def from_images(known: dict[str, Image]) -> Callable[[PictureRef], Image]:
  """Loads pictures that are at hand, by hash."""

  def load(ref: PictureRef) -> Image:
    if ref.sha256 not in known:
      raise DataError(f'{ref.path} is not at hand.')
    return known[ref.sha256]

  return load


def _image(ref: PictureRef, png: bytes) -> Image:
  try:
    return Image(ref.sha256, png, ref.width, ref.height, ref.source)
  except ValueError as error:
    raise DataError(f'{ref.path} is not the picture it is named after.') from error
