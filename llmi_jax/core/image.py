"""A picture as the rooms pass it around: PNG bytes and what identifies them."""

import dataclasses
import hashlib


@dataclasses.dataclass(frozen=True)
class Image:
  """One RGB picture.

  Attributes:
    sha256: hex digest of `png`; the picture's identity in caches, journals and files.
    png: PNG bytes. Decoded only in `services/images`.
    width: pixels.
    height: pixels.
    source: `input`, or the tool and call that made it, such as `search:0`.
  """

  sha256: str
  png: bytes = dataclasses.field(repr=False, compare=False)
  width: int = 0
  height: int = 0
  source: str = 'input'

  def __post_init__(self):
    if hashlib.sha256(self.png).hexdigest() != self.sha256:
      raise ValueError('Image.sha256 is not the digest of Image.png.')
    if self.width < 1 or self.height < 1:
      raise ValueError(f'Image is {self.width}×{self.height} pixels; both must be positive.')
