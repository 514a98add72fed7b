"""The picture operations that the built-in edit tool understands, each with the words that ask for it.

`OPERATIONS` is the documentation: name, words, effect. Numbers in an instruction set an operation's amount:
degrees for `rotate`, pixels for `border`, `blur` and `resize`, percent elsewhere; "slightly" halves a default
and "strongly" doubles it.
"""

import dataclasses
import re
from collections.abc import Callable
from types import FunctionType

import numpy as np
from PIL import Image as Pil
from PIL import ImageChops, ImageColor, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

MAX_SIDE = 4096
_PLAIN = r'(?!\s+(?:borders?|fram|margin|tint|tone|hue|wash))'  # not the colour of something else
_WHOLE = r'(?:make|turn|paint|colou?r) (?:it|(?:the|this) (?:picture|photo|image))'
_TURN = r'turn(?:ed)?(?=(?:(?! and | then )[^,;.])*(?:\d+ ?(?:°|deg)|clockwise|\bleft|\bright|upside|around))'
_TINTS = 'red|green|blue|yellow|orange|purple|pink|brown|gold|cyan|magenta|teal'
_COLOURS = f'{_TINTS}|black|white|gr[ae]y|silver|navy'


@dataclasses.dataclass(frozen=True)
class Wish:
  """What an instruction says about one operation.

  Attributes:
    text: the words around the operation's name.
    quoted: a quoted text, as written; empty if there is none.
  """

  text: str
  quoted: str = ''

  def says(self, pattern: str) -> bool:
    return re.search(rf'\b(?:{pattern})\b', self.text, re.IGNORECASE) is not None

  def number(self, default: float, low: float, high: float) -> float:
    """The first number, or `default` weighed by words of degree; within [low, high]."""
    found = re.search(r'\d+(?:\.\d+)?', self.text)
    if found:
      return min(max(float(found[0]), low), high)
    weight = 1.0
    if self.says('slightly|a bit|a little|subtle|subtly|lightly|gently'):
      weight = 0.5
    if self.says('strongly|very|much|heavily|heavy|a lot|strong'):
      weight = 2.0
    return min(max(default * weight, low), high)

  def colour(self, default: str) -> tuple[int, int, int]:
    found = re.search(rf'\b(?:{_COLOURS})\b', self.text, re.IGNORECASE)
    return ImageColor.getrgb(found[0] if found else default)[:3]  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class Operation:
  """One entry of the table.

  Attributes:
    name: as it stands in `ToolOutcome.executed`.
    words: a regular expression, case ignored.
    effect: for people.
    run: RGB picture → RGB picture.
  """

  name: str
  words: str
  effect: str
  run: Callable[[Pil.Image, Wish], Pil.Image]


def operation(effect: str, *words: str) -> Callable[[FunctionType], Operation]:
  """Makes an `Operation`, named like the function below it."""
  return lambda run: Operation(run.__name__, '|'.join(words), effect, run)


@operation(
  'no colour',
  f'(?:gr[ae]y(?:[- ]?scale)?|black[- ]and[- ]white){_PLAIN}',
  'b&w',
  'monochrome',
  r'desaturat\w*',
)
def grey(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.grayscale(picture).convert('RGB')


@operation('brown tones of an old print', 'sepia', 'vintage', 'antique', 'old[- ]fashioned')
def sepia(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.colorize(ImageOps.grayscale(picture), '#1e0f00', '#fff0d2', mid='#a5805a')


@operation('clockwise by degrees, 90 by default', r'rotat\w*', _TURN, 'upside[- ]down', r'tilt\w*')
def rotate(picture: Pil.Image, wish: Wish) -> Pil.Image:
  default = 180 if wish.says('upside[- ]down|around') else 90
  degrees = wish.number(default, 0, 360)
  if wish.says(r'counter[- ]?clockwise|anti[- ]?clockwise|left'):
    degrees = -degrees
  return picture.rotate(-degrees, Pil.Resampling.BICUBIC, expand=True, fillcolor='white')


@operation(
  'left for right, or top for bottom', r'mirror\w*', r'flip\w*(?:[^,;.]*?upside[- ]down)?', r'reflect\w*'
)
def mirror(picture: Pil.Image, wish: Wish) -> Pil.Image:
  if wish.says('vertical|vertically|upside[- ]down|top'):
    return ImageOps.flip(picture)
  return ImageOps.mirror(picture)


@operation(
  'a part: centre, half, square, percent', r'crop\w*', r'trim\w*', 'cut (?:out|off|to)', r'zoom\w*(?: in)?'
)
def crop(picture: Pil.Image, wish: Wish) -> Pil.Image:
  width, height = picture.size
  if wish.says('square'):
    side = min(width, height)
    return ImageOps.fit(picture, (side, side))
  share = wish.number(50 if wish.says('half') else 25 if wish.says('quarter') else 60, 5, 100) / 100
  wide = height_share = share
  if wish.says('half|third|side|part|strip'):
    if wish.says('left|right'):
      height_share = 1.0
    elif wish.says('top|upper|bottom|lower'):
      wide = 1.0
  across, down = max(1, round(width * wide)), max(1, round(height * height_share))
  x = 0 if wish.says('left') else width - across if wish.says('right') else (width - across) // 2
  y = 0 if wish.says('top|upper') else height - down if wish.says('bottom|lower') else (height - down) // 2
  return picture.crop((x, y, x + across, y + down))


@operation('Gaussian blur', r'blur\w*', 'out of focus', r'smooth\w*')
def blur(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return picture.filter(ImageFilter.GaussianBlur(wish.number(max(picture.size) / 80, 0.5, 100)))


@operation('crisper edges', r'sharp\w*', r'crisp\w*')
def sharpen(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return picture.filter(ImageFilter.UnsharpMask(2, round(wish.number(150, 10, 500)), 2))


@operation('lighter by percent', r'bright\w*', r'light(?:en\w*|er)', r'expos\w*')
def brighten(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageEnhance.Brightness(picture).enhance(1 + wish.number(40, 1, 300) / 100)


@operation('darker by percent', r'dark\w*', r'dim\w*')
def darken(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageEnhance.Brightness(picture).enhance(1 - wish.number(40, 1, 95) / 100)


@operation('more contrast, or less', r'contrast\w*')
def contrast(picture: Pil.Image, wish: Wish) -> Pil.Image:
  less = wish.says('less|lower|reduce|reduced|decrease|decreased|soften|flat|drop')
  amount = wish.number(50, 1, 95 if less else 300) / 100
  return ImageEnhance.Contrast(picture).enhance(1 - amount if less else 1 + amount)


@operation(
  'stronger colours, or weaker',
  r'saturat\w*',
  r'vivid\w*',
  r'vibran\w*',
  'colou?rful',
  'muted?',
  'pastel',
  r'fade\w*',
)
def saturate(picture: Pil.Image, wish: Wish) -> Pil.Image:
  less = wish.says('less|lower|reduce|reduced|decrease|muted|pale|pastel|fade|faded')
  amount = wish.number(60, 1, 95 if less else 300) / 100
  return ImageEnhance.Color(picture).enhance(1 - amount if less else 1 + amount)


@operation('towards red', r'warm\w*')
def warm(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return _balance(picture, wish.number(15, 1, 60) / 100)


@operation('towards blue', r'cool\w*', r'cold\w*')
def cool(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return _balance(picture, -wish.number(15, 1, 60) / 100)


def _balance(picture: Pil.Image, amount: float) -> Pil.Image:
  """Moves light from blue to red, or back where `amount` is negative."""
  red, green, blue = picture.split()
  return Pil.merge(
    'RGB', (red.point(lambda v: v * (1 + amount)), green, blue.point(lambda v: v * (1 - amount)))
  )


@operation(
  'a colour laid over it', r'tint\w*', 'ton(?:e|ed)', 'hue', 'wash', f'{_WHOLE} (?:{_TINTS}){_PLAIN}'
)
def tint(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return Pil.blend(picture, Pil.new('RGB', picture.size, wish.colour('blue')), wish.number(30, 5, 90) / 100)


@operation('a negative', r'invert\w*', 'negative', 'inverse', 'reverse the colou?rs')
def invert(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.invert(picture)


@operation(
  'to pixels or percent',
  r'resiz\w*',
  r'rescal\w*',
  'scal(?:e|ed|ing)',
  r'shrink\w*',
  r'enlarg\w*',
  'smaller',
  'larger',
  'bigger',
  'thumbnail',
  'half the size',
  'double the size',
)
def resize(picture: Pil.Image, wish: Wish) -> Pil.Image:
  box = re.search(r'(\d+)\s*(?:x|×|by)\s*(\d+)', wish.text)
  if box:
    size = int(box[1]), int(box[2])
    return picture.resize((_side(size[0]), _side(size[1])), Pil.Resampling.LANCZOS)
  if wish.says(r'px|pixels?') or re.search(r'\d(?:px|\s*pixel)', wish.text):
    scale = wish.number(512, 1, MAX_SIDE) / max(picture.size)
  else:
    smaller = wish.says('shrink|smaller|reduce|half|down|downscale|thumbnail|tiny')
    scale = wish.number(50 if smaller else 200, 5, 400) / 100
  return picture.resize((_side(picture.width * scale), _side(picture.height * scale)), Pil.Resampling.LANCZOS)


def _side(pixels: float) -> int:
  return min(max(round(pixels), 1), MAX_SIDE)


@operation('a coloured frame', 'borders?', 'fram(?:e|ed|ing)', 'margins?')
def border(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.expand(
    picture, round(wish.number(max(4, max(picture.size) / 20), 1, 200)), wish.colour('black')
  )


@operation(
  'quoted text below, or above',
  r'caption\w*',
  'writ(?:e|ing)',
  r'label\w*',
  'text',
  'titled?',
  'say(?:s|ing)',
)
def caption(picture: Pil.Image, wish: Wish) -> Pil.Image:
  words = wish.quoted or re.sub(
    r'.*?\b(?:caption|captioned|write|text|label|title|says?|saying|reading)\b(?: it)?',
    '',
    wish.text,
    flags=re.I,
  )
  words = ' '.join(words.split()).strip(' :.-')[:200] or 'caption'
  band = max(16, picture.height // 9)
  font = ImageFont.load_default(band * 0.6)
  wide = Pil.new('RGB', (picture.width, picture.height + band), 'white')
  below = not wish.says('top|above')
  wide.paste(picture, (0, 0 if below else band))
  centre = (picture.width / 2, (picture.height if below else 0) + band / 2)
  ImageDraw.Draw(wide).text(centre, words, 'black', font, anchor='mm')
  return wide


@operation('few colours', r'posteri[sz]\w*', 'fewer colou?rs')
def posterize(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.posterize(picture, round(wish.number(2, 1, 7)))


@operation('coarse blocks', r'pixel(?:at\w*|[- ]art)', 'mosaic')
def pixelate(picture: Pil.Image, wish: Wish) -> Pil.Image:
  block = wish.number(max(2, max(picture.size) / 40), 2, 100)
  small = picture.resize((_side(picture.width / block), _side(picture.height / block)), Pil.Resampling.BOX)
  return small.resize(picture.size, Pil.Resampling.NEAREST)


@operation('a pencil drawing', r'sketch\w*', r'pencil\w*')
def sketch(picture: Pil.Image, wish: Wish) -> Pil.Image:
  grey = ImageOps.grayscale(picture)
  soft = ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(max(2, max(picture.size) / 100)))
  light = np.asarray(grey, np.float32) * 255 / np.maximum(255 - np.asarray(soft, np.float32), 1)
  return Pil.fromarray(np.minimum(light, 255).astype(np.uint8)).convert('RGB')


@operation('only the edges', 'edges?', r'outlin\w*', 'contours?')
def edges(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.grayscale(picture).filter(ImageFilter.FIND_EDGES).convert('RGB')


@operation('a relief', r'emboss\w*', 'relief')
def emboss(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return picture.filter(ImageFilter.EMBOSS)


@operation('bright parts inverted', r'solari[sz]\w*')
def solarize(picture: Pil.Image, wish: Wish) -> Pil.Image:
  return ImageOps.solarize(picture, round(wish.number(128, 0, 255)))


@operation('dark corners', r'vignett\w*')
def vignette(picture: Pil.Image, wish: Wish) -> Pil.Image:
  y, x = np.mgrid[-1 : 1 : picture.height * 1j, -1 : 1 : picture.width * 1j]
  light = 1 - np.clip(wish.number(60, 5, 100) / 100 * (x**2 + y**2) / 2, 0, 1)
  mask = Pil.fromarray((light * 255).astype(np.uint8)).convert('RGB')
  return ImageChops.multiply(picture, mask)


OPERATIONS = (
  grey,
  sepia,
  mirror,
  rotate,
  crop,
  blur,
  sharpen,
  contrast,
  brighten,
  darken,
  saturate,
  warm,
  cool,
  invert,
  resize,
  border,
  caption,
  posterize,
  pixelate,
  sketch,
  edges,
  emboss,
  solarize,
  vignette,
  tint,
)
