"""Real photographs that installed packages ship under a stated free licence, with captions of our own.

Each licence is the one that the package documents for the file (scikit-image in the docstrings of
`skimage.data`, scikit-learn in `datasets/images/README.txt`); pictures without such a statement are left
out. `credits` writes the table that documentation shows.
"""

import dataclasses
import functools
import importlib.util
import pathlib

from llmi_jax.core.errors import DataError
from llmi_jax.core.outcome import Attribution
from llmi_jax.core.photograph import Photograph
from llmi_jax.services import images

# Longest side kept in memory: enough for documents and edits, small enough to decode in milliseconds.
MAX_SIDE = 384

_CC0 = 'CC0 1.0'
_PUBLIC = 'public domain'
_CC_BY = 'CC BY 2.0'
_SKIMAGE = 'https://scikit-image.org/docs/stable/api/skimage.data.html'


@dataclasses.dataclass(frozen=True)
class Entry:
  """Where a photograph lies and what is said of it; no picture is read."""

  name: str
  package: str
  file: str
  title: str
  caption: str
  author: str
  licence: str
  page: str


def _skimage(file: str, title: str, caption: str, author: str, licence: str, page: str = '') -> Entry:
  name = pathlib.PurePosixPath(file).stem
  return Entry(name, 'skimage', f'data/{file}', title, caption, author, licence, page or _SKIMAGE)


def _sklearn(file: str, title: str, caption: str, author: str, page: str) -> Entry:
  name = pathlib.PurePosixPath(file).stem
  return Entry(name, 'sklearn', f'datasets/images/{file}', title, caption, author, _CC_BY, page)


ENTRIES = (
  _skimage(
    'astronaut.png',
    'Smiling astronaut',
    'Astronaut Eileen Collins, a smiling woman in an orange NASA flight suit with helmet and shuttle model.',
    'NASA',
    _PUBLIC,
    'https://flic.kr/p/r9qvLn',
  ),
  _skimage(
    'chelsea.png',
    'Tabby cat',
    'A ginger tabby cat named Chelsea looks into the camera; face, whiskers and green eyes from close by.',
    'Stefan van der Walt',
    _CC0,
  ),
  _skimage(
    'coffee.png',
    'Cup of coffee',
    'An espresso cup full of coffee on a red saucer with a spoon, on a wooden table.',
    'Rachel Michetti',
    _CC0,
  ),
  _skimage(
    'rocket.jpg',
    'White rocket on its launch pad',
    'A white Falcon rocket on the launch pad at dusk, between towers and bright lamps, ready for lift-off.',
    'SpaceX',
    _PUBLIC,
    'https://www.flickr.com/photos/spacexphotos/16511594820/',
  ),
  _skimage(
    'camera.png',
    'Cameraman',
    'A cameraman: a man in a dark coat films with a camera on a tripod, on a meadow before a skyline.',
    'Lav Varshney',
    _CC0,
  ),
  _skimage(
    'brick.png',
    'Brick wall',
    'A brick wall: long rows of old bricks with pale mortar, seen at a slant.',
    'CC0Textures',
    _CC0,
    'https://cc0textures.com/view.php?tex=Bricks25',
  ),
  _skimage(
    'grass.png',
    'Grassy lawn',
    'A grassy lawn from above: blades of grass, clover and dry stalks.',
    'linolafett',
    _CC0,
    'https://www.deviantart.com/linolafett/art/Grass-01-434853879',
  ),
  _skimage(
    'gravel.png',
    'Loose gravel',
    'Loose gravel from above: small pebbles of many shapes lie close together.',
    'CC0Textures',
    _CC0,
    'https://cc0textures.com/view.php?tex=Gravel04',
  ),
  _skimage(
    'horse.png',
    'Horse silhouette',
    'A standing horse in profile: the dark silhouette of a stallion on white.',
    'Andreas Preuss (marauder)',
    _CC0,
    'http://openclipart.org/detail/158377/horse-by-marauder',
  ),
  _skimage(
    'clock_motion.png',
    'Blurred clock',
    'A round clock on pale ground, blurred by the moving camera; the spinning dial cannot be read.',
    'Stefan van der Walt',
    _PUBLIC,
  ),
  _skimage(
    'cell.png',
    'Living cell',
    'A living cell floats in saline: a bright round body under a holographic microscope.',
    'Paul Müller and others',
    _CC0,
    'https://doi.org/10.1364/OE.26.010729',
  ),
  _skimage(
    'text.png',
    'Slanted handwriting',
    'Slanted handwriting: formulas and letters in ink on ruled paper.',
    'Wikipedia',
    _PUBLIC,
    'https://en.wikipedia.org/wiki/File:Corner.png',
  ),
  _skimage(
    'retina.jpg',
    'Human retina',
    'A human retina: the back of the eye with its red blood vessels and the pale optic disc.',
    'Mikael Häggström',
    _CC0,
    'https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg',
  ),
  _skimage(
    'microaneurysms.png',
    'Thin vessels',
    'Thin vessels with tiny lesions, a detail of an eye fundus in one colour channel.',
    'Andreas Maier',
    _CC0,
    'https://www5.cs.fau.de/research/data/fundus-images/',
  ),
  _skimage(
    'hubble_deep_field.jpg',
    'Distant galaxies',
    'Distant galaxies and countless stars: the deepest view of the universe by the Hubble telescope.',
    'NASA',
    _PUBLIC,
    'http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/',
  ),
  _sklearn(
    'china.jpg',
    'Palace tower',
    'A palace tower in China: a tall pagoda with curved roofs above trees and a hazy lake.',
    'danielbuechele',
    'https://www.flickr.com/photos/danielbuechele/6061409035/',
  ),
  _sklearn(
    'flower.jpg',
    'Orange flower',
    'An orange flower: a dahlia in full bloom with many petals before dark leaves.',
    'vultilion',
    'https://www.flickr.com/photos/vultilion/6056698931/',
  ),
)


@functools.cache
def load() -> tuple[Photograph, ...]:
  """Reads and scales every photograph, once per process.

  Raises:
    DataError: a package or its file is missing.
  """
  return tuple(_read(entry) for entry in ENTRIES)


def credits() -> str:
  """The photographs' credits as a Markdown table."""
  rows = (f'| [{e.title}]({e.page}) | {e.author} | {e.licence} | `{e.package}/{e.file}` |' for e in ENTRIES)
  return '\n'.join(('| picture | author | licence | file |', '|---|---|---|---|', *rows)) + '\n'


def _read(entry: Entry) -> Photograph:
  path = _folder(entry.package) / entry.file
  try:
    data = path.read_bytes()
  except OSError as error:
    raise DataError(
      f'Photograph {path} cannot be read ({error.strerror}); reinstall {entry.package}.'
    ) from error
  attribution = Attribution(entry.title, entry.author, entry.licence, entry.page)
  image = images.decode(data, source=f'photograph:{entry.name}', max_side=MAX_SIDE)
  return Photograph(image, entry.title, entry.caption, attribution, entry.name)


def _folder(package: str) -> pathlib.Path:
  """A package's folder, found without importing it."""
  spec = importlib.util.find_spec(package)
  if spec is None or not spec.submodule_search_locations:
    project = {'skimage': 'scikit-image', 'sklearn': 'scikit-learn'}[package]
    raise DataError(f'The built-in photographs need {project}; install it with `pip install {project}`.')
  return pathlib.Path(spec.submodule_search_locations[0])
