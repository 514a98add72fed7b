"""A real picture that can be found."""

import dataclasses

from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Attribution


@dataclasses.dataclass(frozen=True)
class Photograph:
  """One picture of a corpus.

  Attributes:
    image: the picture.
    title: a few words.
    caption: what it shows; searched together with the title.
    attribution: who is owed credit.
    name: short and unique in its corpus, such as `chelsea`; may be empty.
  """

  image: Image
  title: str
  caption: str
  attribution: Attribution
  name: str = ''
