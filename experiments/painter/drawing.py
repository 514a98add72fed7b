"""Draws scenes as pictures, by hand-made rules: what the built-in painter learns from."""

import dataclasses
import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image as Pil
from PIL import ImageDraw, ImageFilter

from llmi_jax.data.builtin import scenes
from llmi_jax.data.builtin.scenes import Scene

SIDE = 64
_SCALE = 2  # drawn larger, then averaged, for smooth edges
Colour = tuple[int, int, int]

PALETTE: dict[str, Colour] = {
  'red': (214, 40, 40),
  'orange': (243, 132, 32),
  'yellow': (250, 214, 50),
  'green': (40, 150, 62),
  'blue': (38, 84, 205),
  'purple': (128, 50, 165),
  'pink': (245, 130, 178),
  'white': (246, 246, 246),
  'black': (32, 32, 36),
}
# Skies (top, bottom) by time of day.
_SKIES = {
  'day': ((110, 180, 240), (205, 232, 250)),
  'night': ((8, 12, 44), (40, 44, 96)),
  'sunset': ((92, 60, 130), (250, 150, 80)),
}
_LIGHT = {'day': 1.0, 'night': 0.55, 'sunset': 0.8}


def draw(scene: Scene, rng: random.Random) -> np.ndarray:
  """A scene as uint8 [64, 64, 3]; what it leaves open is drawn from `rng`."""
  scene = _closed(scene, rng)
  side = SIDE * _SCALE
  picture = Pil.fromarray(_gradient(*_SKIES[scene.time], side))
  pen = ImageDraw.Draw(picture)
  _sky(pen, scene.sky, side, rng)
  _ground(pen, scene.place, scene.time, side)
  for kind, colour, x, y, size in _cast(scene, side, rng):
    _DRAWERS[kind](Pen(pen, x, y, size), _shaded(PALETTE[colour], max(_LIGHT[scene.time], 0.8)))
  return np.asarray(_styled(picture.reduce(_SCALE), scene.style))


def _closed(scene: Scene, rng: random.Random) -> Scene:
  """Decides what a caption leaves open, mostly for the usual."""
  time = scene.time or ('night' if scene.sky in ('moon', 'star') else 'day')
  return dataclasses.replace(
    scene,
    colour=scene.colour or rng.choice(scenes.COLOURS),
    other_colour=scene.other_colour or (rng.choice(scenes.COLOURS) if scene.other else ''),
    place=scene.place or rng.choice(('meadow', 'hill', 'sea')),
    time=time,
  )


def _cast(scene: Scene, side: int, rng: random.Random):
  """(kind, colour, centre x, foot y, size) of each thing, left to right.

  All have one size and stand whole patches apart, so that the network meets the same patches in each place.
  """
  kinds = [(scene.subject, scene.colour)] * scene.count
  if scene.other:
    kinds.append((scene.other, scene.other_colour))
  places = {'left': (0.25,), 'right': (0.75,)}.get(scene.side, (0.5,)) if len(kinds) == 1 else (0.25, 0.75)
  shift = rng.uniform(-0.01, 0.01)
  for (kind, colour), place in zip(kinds, places):
    foot = 0.625 if kind in _FLYING else 0.875
    yield kind, colour, side * (place + shift), side * foot, side * 0.44


def _shaded(colour: Colour, light: float) -> Colour:
  return tuple(int(value * light) for value in colour)  # type: ignore[return-value]


def _gradient(top: Colour, bottom: Colour, side: int) -> np.ndarray:
  share = np.linspace(0, 1, side)[:, None, None]
  rows = np.array(top) * (1 - share) + np.array(bottom) * share
  return np.broadcast_to(rows, (side, side, 3)).astype(np.uint8).copy()


def _sky(pen: ImageDraw.ImageDraw, kind: str, side: int, rng: random.Random):
  def ball(x, y, r, fill):
    pen.ellipse((side * (x - r), side * (y - r), side * (x + r), side * (y + r)), fill=fill)

  if kind == 'sun':
    ball(0.82, 0.17, 0.115, (255, 226, 70))
  if kind == 'moon':
    ball(0.82, 0.17, 0.11, (244, 240, 215))
    ball(0.77, 0.14, 0.095, (30, 34, 80))
  if kind == 'cloud':
    for x, y in ((0.2, 0.14), (0.75, 0.19)):
      for dx, dy, r in ((-0.09, 0.02, 0.06), (0, -0.01, 0.085), (0.1, 0.02, 0.06)):
        ball(x + dx, y + dy, r, (236, 240, 246))
  if kind == 'star':
    for x, y in ((0.1, 0.1), (0.3, 0.2), (0.5, 0.08), (0.7, 0.22), (0.9, 0.11), (0.2, 0.34), (0.83, 0.37)):
      ball(x, y, 0.022, (255, 250, 205))
  if kind == 'rainbow':
    for i, name in enumerate(('red', 'orange', 'yellow', 'green', 'blue', 'purple')):
      r = side * (0.56 - 0.035 * i)
      box = (side * 0.5 - r, side * 0.68 - r, side * 0.5 + r, side * 0.68 + r)
      pen.arc(box, 180, 360, fill=PALETTE[name], width=round(side * 0.04))


def _ground(pen: ImageDraw.ImageDraw, place: str, time: str, side: int):
  light = _LIGHT[time]

  def flat(top, colour):
    pen.rectangle((0, side * top, side, side), fill=_shaded(colour, light))

  if place == 'sea':
    flat(0.6, (40, 110, 185))
    for row in (0.66, 0.72):
      pen.line((0, side * row, side, side * row), fill=_shaded((120, 175, 225), light), width=side // 64)
    flat(0.78, (232, 208, 150))
  if place == 'hill':
    flat(0.9, (80, 165, 70))
    pen.ellipse((-side * 0.25, side * 0.62, side * 1.25, side * 1.6), fill=_shaded((80, 165, 70), light))
  if place == 'meadow':
    flat(0.66, (105, 185, 80))
    for i in range(9):
      x, y = side * (0.06 + 0.11 * i), side * (0.72 + 0.18 * (i % 2))
      r = side * 0.018
      pen.ellipse((x - r, y - r, x + r, y + r), fill=_shaded((250, 230, 120), light))
  if place == 'desert':
    flat(0.66, (236, 190, 105))
    pen.ellipse((-side * 0.3, side * 0.57, side * 0.6, side), fill=_shaded((224, 172, 88), light))
    flat(0.8, (236, 190, 105))
  if place == 'mountain':
    for x, height in ((0.22, 0.46), (0.78, 0.42), (0.5, 0.34)):
      tip = (side * x, side * (0.72 - height))
      foot = [(side * (x - 0.34), side * 0.74), (side * (x + 0.34), side * 0.74)]
      pen.polygon([tip, *foot], fill=_shaded((112, 112, 128), light))
      cap = [(side * (x + dx), tip[1] + side * 0.13) for dx in (-0.095, 0.095)]
      pen.polygon([tip, *cap], fill=_shaded((245, 245, 250), max(light, 0.7)))
    flat(0.72, (95, 150, 85))
  if place == 'snow':
    flat(0.64, (238, 243, 250))
    pen.ellipse((side * 0.3, side * 0.58, side * 1.3, side), fill=_shaded((224, 232, 244), light))
    flat(0.82, (238, 243, 250))


def _styled(picture: Pil.Image, style: str) -> Pil.Image:
  if style == 'pastel':
    soft = picture.filter(ImageFilter.GaussianBlur(1.0))
    return Pil.blend(soft, Pil.new('RGB', soft.size, (255, 246, 236)), 0.45)
  if style == 'pixel':
    return picture.reduce(4).resize(picture.size, Pil.Resampling.NEAREST)
  if style == 'monochrome':
    return picture.convert('L').convert('RGB')
  return picture


@dataclasses.dataclass(frozen=True)
class Pen:
  """Draws in a thing's own units: x −0.5 to 0.5 from the left, y 0 at its foot to 1 at its top."""

  canvas: ImageDraw.ImageDraw
  x: float
  y: float
  size: float

  def at(self, x: float, y: float) -> tuple[float, float]:
    return self.x + x * self.size, self.y - y * self.size

  def box(self, left: float, bottom: float, right: float, top: float, fill: Colour):
    self.canvas.rectangle((*self.at(left, top), *self.at(right, bottom)), fill=fill)

  def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour):
    self.canvas.ellipse((*self.at(x - rx, y + ry), *self.at(x + rx, y - ry)), fill=fill)

  def shape(self, *points: tuple[float, float], fill: Colour):
    self.canvas.polygon([self.at(*point) for point in points], fill=fill)

  def line(self, *points: tuple[float, float], fill: Colour, width: float = 0.04):
    self.canvas.line([self.at(*point) for point in points], fill=fill, width=max(1, round(width * self.size)))

  def bow(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Colour):
    self.canvas.pieslice((*self.at(x - rx, y + ry), *self.at(x + rx, y - ry)), start, end, fill=fill)


_DARK, _WOOD, _PALE, _GLASS = (46, 40, 44), (112, 74, 42), (242, 238, 228), (190, 225, 245)


def _tone(colour: Colour, share: float) -> Colour:
  """Lighter (share > 0) or darker (< 0)."""
  target = 255 if share > 0 else 0
  return tuple(int(value + (target - value) * abs(share)) for value in colour)  # type: ignore[return-value]


def _house(p: Pen, c: Colour):
  p.box(-0.36, 0, 0.36, 0.5, c)
  p.shape((-0.46, 0.5), (0.46, 0.5), (0, 0.95), fill=_tone(c, -0.45))
  p.box(-0.08, 0, 0.1, 0.28, _WOOD)
  for x in (-0.23, 0.25):
    p.box(x - 0.07, 0.26, x + 0.07, 0.4, (255, 240, 160))


def _castle(p: Pen, c: Colour):
  p.box(-0.34, 0, 0.34, 0.52, c)
  for x in (-0.36, 0.36):
    p.box(x - 0.12, 0, x + 0.12, 0.78, _tone(c, -0.15))
    for dx in (-0.085, 0.085):
      p.box(x + dx - 0.035, 0.78, x + dx + 0.035, 0.88, _tone(c, -0.15))
  for x in (-0.14, 0, 0.14):
    p.box(x - 0.04, 0.52, x + 0.04, 0.6, c)
  p.box(-0.1, 0, 0.1, 0.2, _DARK)
  p.bow(0, 0.2, 0.1, 0.12, 180, 360, _DARK)


def _tree(p: Pen, c: Colour):
  p.box(-0.07, 0, 0.07, 0.4, _WOOD)
  for x, y, r in ((-0.2, 0.52, 0.22), (0.2, 0.52, 0.22), (0, 0.73, 0.27)):
    p.oval(x, y, r, r, c)


def _flower(p: Pen, c: Colour):
  p.line((0, 0), (0, 0.6), fill=(40, 130, 50), width=0.06)
  p.oval(0.15, 0.22, 0.14, 0.06, (40, 130, 50))
  for i in range(6):
    angle = i * math.pi / 3
    p.oval(0.2 * math.cos(angle), 0.68 + 0.2 * math.sin(angle), 0.13, 0.13, c)
  p.oval(0, 0.68, 0.11, 0.11, (250, 200, 60))


def _mushroom(p: Pen, c: Colour):
  p.box(-0.12, 0, 0.12, 0.45, _PALE)
  p.bow(0, 0.42, 0.44, 0.46, 180, 360, c)
  for x, y in ((-0.22, 0.56), (0.05, 0.7), (0.24, 0.54)):
    p.oval(x, y, 0.065, 0.065, _tone(c, 0.8))


def _cactus(p: Pen, c: Colour):
  p.box(-0.11, 0, 0.11, 0.86, c)
  p.oval(0, 0.86, 0.11, 0.11, c)
  for side, low in ((-1, 0.36), (1, 0.48)):
    left, right = sorted((side * 0.1, side * 0.38))
    p.box(left, low, right, low + 0.13, c)
    left, right = sorted((side * 0.25, side * 0.38))
    p.box(left, low, right, low + 0.32, c)


def _boat(p: Pen, c: Colour):
  p.shape((-0.46, 0.28), (0.46, 0.28), (0.3, 0.02), (-0.3, 0.02), fill=c)
  p.box(-0.025, 0.28, 0.025, 0.98, _WOOD)
  p.shape((0.06, 0.36), (0.4, 0.36), (0.06, 0.94), fill=_PALE)
  p.shape((-0.06, 0.36), (-0.3, 0.36), (-0.06, 0.8), fill=_tone(_PALE, -0.12))


def _fish(p: Pen, c: Colour):
  p.shape((0.22, 0.45), (0.5, 0.72), (0.5, 0.18), fill=_tone(c, -0.25))
  p.oval(-0.08, 0.45, 0.38, 0.25, c)
  p.oval(-0.27, 0.52, 0.06, 0.06, (255, 255, 255))
  p.oval(-0.28, 0.52, 0.03, 0.03, _DARK)


def _cat(p: Pen, c: Colour):
  p.line((0.25, 0.1), (0.44, 0.25), (0.42, 0.5), fill=c, width=0.08)
  p.oval(0, 0.24, 0.28, 0.26, c)
  p.shape((-0.25, 0.66), (-0.23, 1.0), (-0.02, 0.82), fill=c)
  p.shape((0.25, 0.66), (0.23, 1.0), (0.02, 0.82), fill=c)
  p.oval(0, 0.65, 0.26, 0.22, c)
  for x in (-0.11, 0.11):
    p.oval(x, 0.68, 0.055, 0.055, (170, 230, 90))
    p.oval(x, 0.68, 0.02, 0.05, _DARK)
  p.oval(0, 0.57, 0.035, 0.025, (240, 140, 150))


def _rabbit(p: Pen, c: Colour):
  p.oval(0, 0.2, 0.27, 0.22, c)
  for x in (-0.11, 0.11):
    p.oval(x, 0.85, 0.075, 0.22, c)
    p.oval(x, 0.84, 0.035, 0.15, (245, 170, 180))
  p.oval(0, 0.53, 0.23, 0.2, c)
  for x in (-0.09, 0.09):
    p.oval(x, 0.57, 0.035, 0.04, _tone(_DARK, 0.0) if sum(c) > 200 else (255, 255, 255))
  p.oval(0, 0.47, 0.035, 0.028, (240, 120, 140))


def _bird(p: Pen, c: Colour):
  p.shape((0.2, 0.45), (0.5, 0.62), (0.46, 0.36), fill=_tone(c, -0.25))
  p.oval(0, 0.45, 0.3, 0.2, c)
  p.oval(-0.24, 0.63, 0.15, 0.15, c)
  p.shape((-0.36, 0.67), (-0.52, 0.61), (-0.36, 0.57), fill=(250, 170, 40))
  p.shape((-0.08, 0.5), (0.24, 0.5), (0.16, 0.88), fill=_tone(c, -0.35))
  p.oval(-0.27, 0.67, 0.035, 0.035, (255, 255, 255))


def _car(p: Pen, c: Colour):
  p.box(-0.5, 0.14, 0.5, 0.4, c)
  p.shape((-0.34, 0.4), (-0.22, 0.66), (0.2, 0.66), (0.34, 0.4), fill=c)
  p.shape((-0.26, 0.41), (-0.18, 0.6), (-0.03, 0.6), (-0.03, 0.41), fill=_GLASS)
  p.shape((0.03, 0.41), (0.03, 0.6), (0.16, 0.6), (0.26, 0.41), fill=_GLASS)
  for x in (-0.28, 0.28):
    p.oval(x, 0.13, 0.13, 0.13, _DARK)
    p.oval(x, 0.13, 0.055, 0.055, (200, 200, 205))


def _balloon(p: Pen, c: Colour):
  p.line((-0.16, 0.42), (-0.09, 0.16), fill=_WOOD, width=0.03)
  p.line((0.16, 0.42), (0.09, 0.16), fill=_WOOD, width=0.03)
  p.shape((-0.3, 0.52), (0.3, 0.52), (0.12, 0.3), (-0.12, 0.3), fill=c)
  p.oval(0, 0.68, 0.36, 0.34, c)
  p.oval(0, 0.68, 0.13, 0.34, _tone(c, 0.45))
  p.box(-0.11, 0, 0.11, 0.16, _WOOD)


def _rocket(p: Pen, c: Colour):
  p.shape((-0.1, 0.14), (0.1, 0.14), (0, -0.12), fill=(255, 160, 40))
  p.shape((-0.17, 0.4), (-0.36, 0.1), (-0.15, 0.14), fill=_tone(c, -0.4))
  p.shape((0.17, 0.4), (0.36, 0.1), (0.15, 0.14), fill=_tone(c, -0.4))
  p.box(-0.17, 0.14, 0.17, 0.68, c)
  p.shape((-0.17, 0.68), (0.17, 0.68), (0, 1.04), fill=_tone(c, -0.4))
  p.oval(0, 0.52, 0.09, 0.09, _GLASS)


def _ghost(p: Pen, c: Colour):
  p.bow(0, 0.6, 0.32, 0.36, 180, 360, c)
  p.box(-0.32, 0.12, 0.32, 0.6, c)
  for x in (-0.213, 0, 0.213):
    p.oval(x, 0.12, 0.107, 0.1, c)
  eye = _DARK if sum(c) > 200 else (255, 255, 255)
  for x in (-0.12, 0.12):
    p.oval(x, 0.62, 0.06, 0.08, eye)
  p.oval(0, 0.42, 0.06, 0.06, eye)


def _snowman(p: Pen, c: Colour):
  p.oval(0, 0.2, 0.27, 0.22, _PALE)
  p.oval(0, 0.5, 0.21, 0.18, _PALE)
  p.oval(0, 0.75, 0.15, 0.14, _PALE)
  p.box(-0.2, 0.58, 0.2, 0.66, c)
  p.box(0.06, 0.4, 0.15, 0.6, c)
  p.box(-0.19, 0.84, 0.19, 0.88, c)
  p.box(-0.12, 0.86, 0.12, 1.04, c)
  p.shape((0, 0.77), (0, 0.71), (0.17, 0.73), fill=(245, 130, 40))


def _umbrella(p: Pen, c: Colour):
  p.line((0, 0.04), (0, 0.6), fill=_WOOD, width=0.05)
  p.line((0, 0.04), (0.12, 0.04), (0.12, 0.12), fill=_WOOD, width=0.05)
  p.bow(0, 0.5, 0.48, 0.48, 180, 360, c)
  p.bow(0, 0.5, 0.16, 0.48, 180, 360, _tone(c, 0.4))


_FLYING = frozenset(('balloon', 'bird', 'rocket', 'ghost'))
_DRAWERS: dict[str, Callable[[Pen, Colour], None]] = {
  **{'house': _house, 'castle': _castle, 'tree': _tree, 'flower': _flower, 'mushroom': _mushroom},
  **{'cactus': _cactus, 'boat': _boat, 'fish': _fish, 'cat': _cat, 'rabbit': _rabbit, 'bird': _bird},
  **{'car': _car, 'balloon': _balloon, 'rocket': _rocket, 'ghost': _ghost, 'snowman': _snowman},
  **{'umbrella': _umbrella},
}
