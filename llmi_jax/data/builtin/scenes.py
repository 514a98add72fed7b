"""Scenes that the built-in painter can paint, and their captions in words.

A caption names a subject with colour and number, perhaps a second one beside it, and a place, a time,
something in the sky and a style. What a caption leaves out is open: each painting decides it for itself.
"""

import dataclasses
import random
import zlib

SUBJECTS = (
  *('house', 'castle', 'tree', 'flower', 'mushroom', 'cactus', 'boat', 'fish', 'cat', 'rabbit', 'bird'),
  *('car', 'balloon', 'rocket', 'ghost', 'snowman', 'umbrella'),
)
COLOURS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black')
COUNTS = ('one', 'two')
PLACES = {
  'sea': 'by the sea',
  'hill': 'on a hill',
  'meadow': 'in a meadow',
  'desert': 'in the desert',
  'mountain': 'before mountains',
  'snow': 'in the snow',
}
TIMES = {'day': 'by day', 'night': 'at night', 'sunset': 'at sunset'}
SKIES = {
  'sun': 'under the sun',
  'moon': 'under the moon',
  'cloud': 'under clouds',
  'star': 'under stars',
  'rainbow': 'under a rainbow',
}
STYLES = {'pastel': 'in pastel', 'pixel': 'as pixel art', 'monochrome': 'in monochrome'}
SIDES = {'left': 'on the left', 'right': 'on the right'}

# Further words for the same things.
SYNONYMS = {
  **{'cottage': 'house', 'home': 'house', 'palace': 'castle', 'fortress': 'castle'},
  **{'rose': 'flower', 'tulip': 'flower', 'oak': 'tree', 'pine': 'tree', 'toadstool': 'mushroom'},
  **{'ship': 'boat', 'sailboat': 'boat', 'kitten': 'cat', 'bunny': 'rabbit', 'hare': 'rabbit'},
  **{
    'sparrow': 'bird',
    'automobile': 'car',
    'spaceship': 'rocket',
    'parasol': 'umbrella',
  },
  **{'scarlet': 'red', 'crimson': 'red', 'golden': 'yellow', 'emerald': 'green', 'violet': 'purple'},
  **{'ocean': 'sea', 'beach': 'sea', 'lake': 'sea', 'field': 'meadow', 'grass': 'meadow', 'dune': 'desert'},
  **{'winter': 'snow', 'snowy': 'snow', 'snowfield': 'snow', 'dusk': 'sunset', 'dawn': 'sunset'},
  **{'evening': 'sunset', 'midnight': 'night', 'noon': 'day', 'sunny': 'sun', 'cloudy': 'cloud'},
  **{'starry': 'star'},
  **{
    'snowmen': 'snowman',
    'pair': 'two',
    'greyscale': 'monochrome',
    'grayscale': 'monochrome',
    'pixelated': 'pixel',
  },
}


@dataclasses.dataclass(frozen=True)
class Scene:
  """What a picture shows; empty fields are open, except that of the second subject.

  Attributes:
    subject: one of `SUBJECTS`.
    colour: one of `COLOURS`; what the subject is mainly coloured with.
    count: how many subjects; 1 where there is another.
    other: a second subject at the right of the first, or ''.
    other_colour: its colour.
    place: key of `PLACES`.
    time: key of `TIMES`.
    sky: key of `SKIES`.
    style: key of `STYLES`; empty means flat colours.
    side: key of `SIDES`, for a single subject; empty is the middle.
  """

  subject: str
  colour: str
  count: int = 1
  other: str = ''
  other_colour: str = ''
  place: str = ''
  time: str = ''
  sky: str = ''
  style: str = ''
  side: str = ''

  @property
  def held_out(self) -> bool:
    """Whether the scene has a pair of subject and colour, or of subject and place, kept from training.

    About one pair in nine of the first kind and one in ten of the second.
    """
    pairs = ((self.subject, self.colour), (self.other, self.other_colour))
    return any(_held(f'{s} {c}', 9) for s, c in pairs if s and c) or _held(f'{self.subject} {self.place}', 10)


def _held(pair: str, one_in: int) -> bool:
  return zlib.crc32(pair.encode()) % one_in == 0


def vocabulary() -> dict[str, int]:
  """Every word of captions → its id above 0; synonyms share one."""
  words = (*SUBJECTS, *COLOURS, *COUNTS, *PLACES, *TIMES, *SKIES, *STYLES, *SIDES)
  known = {word: i + 1 for i, word in enumerate(word for word in words if word)}
  return known | {word: known[meaning] for word, meaning in SYNONYMS.items()}


def phrases(split: str) -> tuple[str, ...]:
  """What tasks of a split ask to be painted: a coloured subject, some in a place or at a time.

  The painter itself never saw a pair of subject and colour of the test split; no pair stands in two splits.
  """
  found = []
  for subject in SUBJECTS:
    for colour in COLOURS:
      pair = Scene(subject, colour)
      crc = zlib.crc32(f'{colour} {subject}'.encode())
      if split != ('test' if pair.held_out else 'validation' if crc % 8 == 0 else 'train'):
        continue
      places = [place for place in PLACES if not _held(f'{subject} {place}', 10)]
      open_place = dataclasses.replace(pair, place=places[crc % len(places)])
      timed = dataclasses.replace(pair, time=('night', 'sunset')[crc % 2])
      found += [caption(pair), caption(open_place), caption(timed)]
  return tuple(found)


def draw(rng: random.Random, *, held_out: bool = False) -> Scene:
  """A scene of either kind; what stays open in its caption is drawn by whoever paints it."""
  while True:
    scene = _any(rng)
    if scene.held_out == held_out:
      return scene


def _any(rng: random.Random) -> Scene:
  def perhaps(choices, share: float) -> str:
    return rng.choice([choice for choice in choices if choice]) if rng.random() < share else ''

  subject = rng.choice(SUBJECTS)
  other = perhaps([s for s in SUBJECTS if s != subject], 0.25)
  count = 1 if other else rng.choice((1, 1, 1, 2))
  return Scene(
    subject=subject,
    colour=perhaps(COLOURS, 0.9),
    count=count,
    other=other,
    other_colour=perhaps(COLOURS, 0.9) if other else '',
    place=perhaps(PLACES, 0.7),
    time=perhaps(TIMES, 0.5),
    sky=perhaps(SKIES, 0.35),
    style=perhaps(STYLES, 0.2),
    side='' if other or count > 1 else perhaps(SIDES, 0.4),
  )


def caption(scene: Scene) -> str:
  """A scene in words, with its article: `two red boats by the sea at night, in pastel`."""
  what = _noun(scene.count, scene.colour, scene.subject)
  if scene.other:
    what += f' and {_noun(1, scene.other_colour, scene.other)}'
  where = (
    SIDES.get(scene.side, ''),
    PLACES.get(scene.place, ''),
    TIMES.get(scene.time, ''),
    SKIES.get(scene.sky, ''),
    STYLES.get(scene.style, ''),
  )
  return ' '.join(part for part in (what, *where) if part)


def _noun(count: int, colour: str, subject: str) -> str:
  described = ' '.join(word for word in (colour, subject) if word)
  if count > 1:
    return f'{COUNTS[count - 1]} {_plural(described)}'
  return f'{"an" if described[0] in "aeiou" else "a"} {described}'


def _plural(words: str) -> str:
  if words.endswith('fish'):
    return words
  if words.endswith('man'):
    return words.removesuffix('man') + 'men'
  if words.endswith('fly'):
    return words.removesuffix('y') + 'ies'
  return words + ('es' if words.endswith('s') else 's')
