"""The pictures of a step's prompts, as the update reads them: every distinct one of a micro-batch once."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from llmi_jax.core.prompt import Prompt, Vision
from llmi_jax.models import mrope, vision_layout
from llmi_jax.models.config import VisionConfig
from llmi_jax.update.rows import Seen


@dataclasses.dataclass(frozen=True, eq=False)
class Album:
  """What the prompts of a step show.

  Attributes:
    prompts: one per group; some may show nothing.
    config: of the vision tower.
    image_pad: id of image tokens.
    width: Tp.
    shards: the number of pictures of a bucket is cut into so many equal pieces.
  """

  prompts: tuple[Prompt, ...]
  config: VisionConfig
  image_pad: int
  width: int
  shards: int = 1

  def seen(self, groups: Sequence[int] | np.ndarray) -> Seen | None:
    """The pictures of some groups, -1 an empty one; None if they show nothing.

    Pictures of a bucket are filled up to a power of two times `shards`, so that few programs are compiled.

    Raises:
      DataError: a picture is too large for the tower, or prompt and pictures do not fit each other.
    """
    prompts = [self.prompts[g] if g >= 0 else None for g in groups]
    distinct = {one.sha256: one for prompt in prompts if prompt is not None for one in prompt.vision}
    if not distinct:
      return None
    first, pictures = self._arrange(list(distinct.values()))
    positions = np.zeros((len(prompts), 3, self.width), np.int32)
    delta = np.zeros(len(prompts), np.int32)
    rows = np.full((len(prompts), self.width), -1, np.int32)
    for index, prompt in enumerate(prompts):
      if prompt is None:
        continue
      shown = [prompt.vision[i] for i in prompt.images]
      found, delta[index] = mrope.positions(
        prompt.tokens, [one.grid for one in shown], image_pad=self.image_pad, merge=self.config.merge
      )
      length = len(prompt.tokens)
      positions[index, :, :length] = found
      places = [(first[one.sha256], one.grid) for one in shown]
      rows[index, :length][prompt.tokens == self.image_pad] = vision_layout.token_rows(
        places, self.config.windows
      )
    return Seen(positions, delta, rows, pictures)

  def _arrange(self, distinct: Sequence[Vision]) -> tuple[dict[str, int], tuple[vision_layout.Pictures, ...]]:
    """Where each picture's features begin, and the buckets."""
    windows = self.config.windows
    buckets: dict[int, list[Vision]] = {}
    for one in distinct:
      buckets.setdefault(vision_layout.bucket(one.grid, windows), []).append(one)
    first, made, start = {}, [], 0
    for slots, own in sorted(buckets.items()):
      units = slots // self.config.merge**2
      count = self.shards
      while count < len(own):
        count *= 2
      made.append(
        vision_layout.arrange([(one.patches, one.grid) for one in own], windows, slots=slots, count=count)
      )
      first |= {one.sha256: start + m * units for m, one in enumerate(own)}
      start += count * units
    return first, tuple(made)
