"""A tool of one's own: QR codes, drawn in plain Python. Named in a config, it is all that training needs:

    config.tools.names = ('search', 'code', 'edit', 'diffusion', 'docs/own_tool/qr_code.py')

QR codes as in ISO/IEC 18004: bytes, error correction L, versions 1 to 5 (one block of codewords), mask 0.
"""

import numpy as np

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.services import images
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success

SPEC = ToolSpec(
  'qr_code',
  'Draws a QR code that a phone reads. Use it for links, addresses and short texts that a reader is to open.',
  (Parameter('text', 'string', 'what the code says, at most 106 bytes'),),
  (('text', 'https://arxiv.org/abs/2509.13642'),),
)

# Version → (codewords of data, codewords of error correction).
_SIZES = {1: (19, 7), 2: (34, 10), 3: (55, 15), 4: (80, 20), 5: (108, 26)}
_FORMAT = 0b111011111000100  # level L, mask 0, with its own error correction
_SCALE = 8


def get_tool() -> Tool:
  """What the package calls."""

  async def call(params: Params, context: Context) -> ToolOutcome:
    del context  # the same text gives the same code
    data = str(params['text']).encode()
    if len(data) > _SIZES[5][0] - 2:
      raise ToolFailure(f'The text has {len(data)} bytes; a code holds 106.', 'policy', 'invalid')
    modules = np.pad(matrix(data), 4)
    pixels = np.where(np.kron(modules, np.ones((_SCALE, _SCALE), bool)), 0, 255).astype(np.uint8)
    return success(Candidate(images.from_array(np.repeat(pixels[..., None], 3, 2), source='qr_code')))

  return Tool(SPEC, call, cached=False)


def matrix(data: bytes) -> np.ndarray:
  """[side, side] bool, dark where true, without the margin."""
  version = next(v for v, (count, _) in _SIZES.items() if len(data) + 2 <= count)
  side = 17 + 4 * version
  dark, taken = np.zeros((side, side), bool), np.zeros((side, side), bool)
  _draw_patterns(dark, taken, version)
  bits = iter(_bits(data, *_SIZES[version]))
  for row, column in _path(side):
    if not taken[row, column]:
      dark[row, column] = next(bits, False) ^ ((row + column) % 2 == 0)
  return dark


def _draw_patterns(dark: np.ndarray, taken: np.ndarray, version: int):
  side = len(dark)
  finder = np.array([[max(abs(y - 3), abs(x - 3)) not in (2, 4) for x in range(-1, 8)] for y in range(-1, 8)])
  for y, x in ((0, 0), (0, side - 7), (side - 7, 0)):
    rows, columns = slice(max(y - 1, 0), y + 8), slice(max(x - 1, 0), x + 8)
    cut = finder[max(1 - y, 0) : side - y + 1, max(1 - x, 0) : side - x + 1]
    dark[rows, columns], taken[rows, columns] = cut, True
  for i in range(8, side - 8):
    dark[6, i] = dark[i, 6] = i % 2 == 0
    taken[6, i] = taken[i, 6] = True
  if version > 1:  # the one alignment pattern
    around = slice(side - 9, side - 4)
    dark[around, around] = [[max(abs(y), abs(x)) != 1 for x in range(-2, 3)] for y in range(-2, 3)]
    taken[around, around] = True
  _draw_format(dark, taken)


def _draw_format(dark: np.ndarray, taken: np.ndarray):
  side = len(dark)
  first = [(8, i) for i in (0, 1, 2, 3, 4, 5, 7, 8)] + [(i, 8) for i in (7, 5, 4, 3, 2, 1, 0)]
  second = [(side - 1 - i, 8) for i in range(7)] + [(8, side - 8 + i) for i in range(8)]
  for place in (first, second):
    for i, (row, column) in enumerate(place):
      dark[row, column], taken[row, column] = bool(_FORMAT >> (14 - i) & 1), True
  dark[side - 8, 8] = taken[side - 8, 8] = True


def _path(side: int):
  """Every module in the order of the data: two columns at a time, up and down, from the right."""
  for number, right in enumerate(c for c in range(side - 1, 0, -2)):
    right -= right <= 6  # the timing column is skipped
    rows = range(side) if number % 2 else range(side - 1, -1, -1)
    for row in rows:
      yield row, right
      yield row, right - 1


def _bits(data: bytes, count: int, correction: int):
  """Mode, length, bytes, padding and error correction, bit by bit."""
  bits = f'0100{len(data):08b}' + ''.join(f'{byte:08b}' for byte in data) + '0000'
  words = [int(bits[i : i + 8].ljust(8, '0'), 2) for i in range(0, len(bits), 8)]
  words = (words + [0xEC, 0x11] * count)[:count]
  return [bool(word >> (7 - i) & 1) for word in words + _correction(words, correction) for i in range(8)]


def _correction(words: list[int], count: int) -> list[int]:
  """Reed–Solomon: the remainder by the product of (x − 2ⁱ) over GF(256)."""
  divisor = [1]
  for i in range(count):
    root = _power(i)
    scaled = [_times(value, root) for value in divisor]
    divisor = [a ^ b for a, b in zip([*divisor, 0], [0, *scaled])]
  rest = [*words, *[0] * count]
  for i in range(len(words)):
    factor = rest[i]
    for j, value in enumerate(divisor):
      rest[i + j] ^= _times(value, factor)
  return rest[len(words) :]


def _power(exponent: int) -> int:
  value = 1
  for _ in range(exponent):
    value = _times(value, 2)
  return value


def _times(a: int, b: int) -> int:
  product = 0
  while b:
    product ^= a * (b & 1)
    a, b = a << 1, b >> 1
    a ^= 0x11D * (a >> 8)
  return product
