"""What became of a tool call, and whose doing that was."""

import dataclasses
from typing import Any, Literal

from llmi_jax.core.image import Image


@dataclasses.dataclass(frozen=True)
class Attribution:
  """Who is owed credit for a picture."""

  title: str = ''
  author: str = ''
  licence: str = ''
  page: str = ''


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One picture that a tool offers, best first.

  Attributes:
    image: the picture.
    attribution: its credit, where it is somebody's.
    caption: what its source says it shows; empty where the source says nothing.
    score: the tool's own ranking score; higher is better.
  """

  image: Image
  attribution: Attribution | None = None
  caption: str = ''
  score: float = 0.0


@dataclasses.dataclass(frozen=True)
class ToolOutcome:
  """The result of one call.

  Attributes:
    status: `ok`; `invalid` (parameters that cannot be carried out); `failed` (tried, no picture);
      `unavailable` (the environment could not serve it); `not_offered`.
    fault: whose doing a missing picture is. `policy` is data for the reward; `environment` makes the
      sample unscorable.
    candidates: pictures, best first; not empty exactly when `status` is `ok`.
    tool: the tool's name.
    provider: what served it, such as `builtin` or `openverse`.
    model: the model behind the provider, if any.
    seed: the seed it ran with, if any.
    variant: which of several draws for equal parameters.
    executed: the parameters as executed.
    error: one sentence for people; empty when `ok`.
    cost: in the provider's currency; 0 for local tools.
    started: seconds since the epoch.
    ended: seconds since the epoch.
    attempts: tries made, the successful one included.
    artefacts: what a tool made besides pictures, by name.
  """

  status: Literal['ok', 'invalid', 'failed', 'unavailable', 'not_offered']
  fault: Literal['policy', 'environment', 'none']
  candidates: tuple[Candidate, ...] = ()
  tool: str = ''
  provider: str = ''
  model: str = ''
  seed: int | None = None
  variant: int = 0
  executed: tuple[tuple[str, Any], ...] = ()
  error: str = ''
  cost: float = 0.0
  started: float = 0.0
  ended: float = 0.0
  attempts: int = 1
  artefacts: tuple[tuple[str, str], ...] = ()

  def __post_init__(self):
    if (self.status == 'ok') != bool(self.candidates):
      raise ValueError(f'A ToolOutcome with status {self.status!r} has {len(self.candidates)} candidates.')
    if (self.status == 'ok') != (self.fault == 'none'):
      raise ValueError(f'A ToolOutcome with status {self.status!r} cannot have fault {self.fault!r}.')

  @property
  def image(self) -> Image | None:
    """The picture that stands in the document."""
    return self.candidates[0].image if self.candidates else None
