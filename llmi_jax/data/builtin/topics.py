"""What each split's tasks are about; no content word stands in two splits."""

import dataclasses
from collections.abc import Iterable, Mapping

SPLITS = ('train', 'validation', 'test')

# Words that carry no content: they may stand in every split.
STOP_WORDS = frozenset(
  ('a', 'an', 'and', 'at', 'by', 'for', 'from', 'in', 'its', 'of', 'on', 'the', 'to', 'with')
)


@dataclasses.dataclass(frozen=True)
class Topics:
  """One split's content.

  Attributes:
    subjects: for each photograph's name, phrases for what it shows; each has its article and fits
      after `of`.
    owners: first words of series names.
    measures: second words of series names.
  """

  subjects: Mapping[str, tuple[str, ...]]
  owners: tuple[str, ...]
  measures: tuple[str, ...]

  @property
  def series(self) -> tuple[str, ...]:
    """Names of number series, such as `lemonade sales`."""
    return tuple(f'{owner} {measure}' for owner in self.owners for measure in self.measures)

  @property
  def words(self) -> frozenset[str]:
    """Every content word of the split."""
    phrases = (phrase for phrases in self.subjects.values() for phrase in phrases)
    return content_words((*phrases, *self.series))


def content_words(phrases: Iterable[str]) -> frozenset[str]:
  """The words of phrases, stop words left out."""
  return frozenset(word for phrase in phrases for word in phrase.lower().split()) - STOP_WORDS


TOPICS: Mapping[str, Topics] = {
  'train': Topics(
    subjects={
      'astronaut': ('an astronaut', 'a smiling astronaut'),
      'chelsea': ('a tabby cat', 'a ginger cat'),
      'coffee': ('a cup of coffee', 'an espresso cup'),
      'rocket': ('a white rocket', 'a launch pad'),
      'camera': ('a cameraman', 'a man with a camera'),
      'brick': ('a brick wall', 'old bricks'),
      'grass': ('a grassy lawn', 'blades of grass'),
      'flower': ('an orange flower', 'a dahlia'),
      'retina': ('a human retina', 'a human eye'),
    },
    owners=(
      *('lemonade', 'bread', 'ticket', 'pizza', 'newspaper', 'garden'),
      *('school', 'orchard', 'cinema', 'bicycle', 'market', 'hotel'),
    ),
    measures=('sales', 'visitors', 'orders', 'prices', 'costs'),
  ),
  'validation': Topics(
    subjects={
      'clock_motion': ('a blurred clock', 'a spinning dial'),
      'cell': ('a cell', 'a living cell'),
      'microaneurysms': ('vessels', 'tiny lesions'),
      'text': ('handwriting', 'letters in ink'),
    },
    owners=('museum', 'ferry', 'candle', 'umbrella', 'library'),
    measures=('loans', 'rentals', 'guests'),
  ),
  'test': Topics(
    subjects={
      'china': ('a pagoda', 'a palace tower'),
      'hubble_deep_field': ('galaxies', 'distant stars'),
      'gravel': ('gravel', 'small pebbles'),
      'horse': ('a horse', 'a dark stallion'),
    },
    owners=('kayak', 'lantern', 'honey', 'violin', 'harbour', 'pottery'),
    measures=('bookings', 'repairs', 'trials', 'lessons'),
  ),
}

# Changes that requests ask for. They are the edit tool's vocabulary, not content: every split has them.
CHANGES = (
  'turn it grey',
  'make it sepia',
  'flip it upside down',
  'mirror it',
  'rotate it by 90 degrees',
  'blur it',
  'brighten it',
  'darken it',
  'invert its colours',
  'put a border around it',
  'raise its contrast',
)
# Changes that only the warm start sees, so that it learns to copy them rather than to know them.
MORE_CHANGES = (
  'crop it to the centre',
  'sharpen it',
  'shrink it to half its size',
  'rotate it by 45 degrees',
  'rotate it by 180 degrees',
  'lower its contrast',
  'make it warmer',
  'make it black and white',
  'put a thick frame around it',
  'pixelate it',
)

# How charts are asked for, by what they are to show; `how <series> of <values> …`.
VERBS: Mapping[str, tuple[str, ...]] = {
  'line': ('moved over the year', 'rose and fell', 'changed from week to week'),
  'bar': ('compare side by side', 'differ from place to place', 'rank against each other'),
  'pie': ('split into shares', 'divide the whole', 'add up to the total'),
  'hist': ('spread out', 'cluster around their middle', 'scatter'),
}
