"""What is done at answer time, how much of it, and what it may cost."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

from llmi_jax.core.errors import ConfigError

STAGES = ('sample', 'filter', 'select', 'enhance', 'polish', 'final')
Level = Literal['well_formed', 'all_ok', 'success', 'image_rule']
Way = Literal['seeds', 'candidates', 'repair', 'none']
LEVELS, WAYS = get_args(Level), get_args(Way)


@dataclasses.dataclass(frozen=True)
class Limits:
  """What may be spent; 0 is no limit.

  Attributes:
    seconds: wall time.
    calls: of tools and models; a policy in this process is none.
    tokens: read and written by all models, that policy included.
    price: in the currency of the prices.
  """

  seconds: float = 0.0
  calls: int = 0
  tokens: int = 0
  price: float = 0.0

  def __post_init__(self):
    if min(self.seconds, self.calls, self.tokens, self.price) < 0:
      raise ConfigError('A budget of test-time scaling is negative; set it to 0 (no limit) or more.')


@dataclasses.dataclass(frozen=True)
class Sift:
  """What a candidate must be to go on.

  Attributes:
    levels: that must hold; where nobody is left, the last one is dropped first.
    success: least share of a candidate's calls that gave a picture, for the level `success`.
    retries: further tries of calls that the environment lost.
  """

  levels: tuple[Level, ...] = ('image_rule', 'well_formed', 'success')
  success: float = 0.5
  retries: int = 1

  def __post_init__(self):
    if unknown := [level for level in self.levels if level not in LEVELS]:
      raise ConfigError(f'There is no level {unknown[0]!r} of filtering; known are {", ".join(LEVELS)}.')
    if not 0 <= self.success <= 1 or self.retries < 0:
      raise ConfigError('filter.success must be a share and filter.retries 0 or more.')


@dataclasses.dataclass(frozen=True)
class Enhance:
  """How pictures are bettered.

  Attributes:
    variants: m, further pictures per place.
    repairs: r, most tries to mend a code that raised.
    ways: by tool: `seeds` (asked again with other seeds), `candidates` (asked for more at once), `repair`
      (its code is mended), `none`. A tool that is not named has seeds if it takes one.
  """

  variants: int = 2
  repairs: int = 2
  ways: Mapping[str, Way] = dataclasses.field(
    default_factory=lambda: {'diffusion': 'seeds', 'edit': 'seeds', 'search': 'candidates', 'code': 'repair'}
  )

  def __post_init__(self):
    if min(self.variants, self.repairs) < 0:
      raise ConfigError('enhance.variants and enhance.repairs must be 0 or more.')
    if unknown := [way for way in self.ways.values() if way not in WAYS]:
      raise ConfigError(f'There is no way {unknown[0]!r} to enhance; known are {", ".join(WAYS)}.')


@dataclasses.dataclass(frozen=True)
class Polish:
  """How text is polished.

  Attributes:
    rounds: times that an answer is rewritten.
  """

  rounds: int = 1

  def __post_init__(self):
    if self.rounds < 1:
      raise ConfigError(f'polish.rounds is {self.rounds}; set it to 1 or more, or leave the stage out.')


@dataclasses.dataclass(frozen=True)
class Plan:
  """Everything. A stage that is None or False is left out.

  Attributes:
    samples: n.
    sift: the filter.
    select: whether a model chooses who goes on; else the first ones do.
    keep: k, how many go on.
    enhance: of pictures.
    polish: of text.
    final: whether a model makes the last choice; else the best so far is taken.
    limits: of everything together.
    stages: of single stages, by name.
  """

  samples: int = 4
  sift: Sift | None = Sift()
  select: bool = True
  keep: int = 1
  enhance: Enhance | None = Enhance()
  polish: Polish | None = None
  final: bool = True
  limits: Limits = Limits()
  stages: Mapping[str, Limits] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if not 1 <= self.keep <= self.samples:
      raise ConfigError(
        f'Of {self.samples} samples (sample.n) {self.keep} (select.k) cannot go on; choose fewer.'
      )
    if unknown := [name for name in self.stages if name not in STAGES]:
      raise ConfigError(f'There is no stage {unknown[0]!r}; known are {", ".join(STAGES)}.')
