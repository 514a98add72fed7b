"""Messages → token ids, by the tokenizer's own chat template.

Whatever a message says stays text: the template is rendered around seals that stand for the contents, only
what the template itself wrote can become a special token, and everything between two of those is encoded in
one go, as the template's author had it encoded.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llmi_jax.core.errors import WeightsError
from llmi_jax.text.tokens import IMAGE_PAD, Tokenizer

# A message's content: text, or texts and pictures in their order. A number stands for a picture that takes so
# many image tokens.
Content = str | Sequence[str | int]


def encode_chat(tokenizer: Tokenizer, messages: Sequence[tuple[str, Content]]) -> tuple[np.ndarray, str]:
  """Encodes a conversation up to where the reply begins.

  Args:
    tokenizer: whose template and vocabulary.
    messages: (role, content) pairs; a content with pictures needs the template of a vision-language model.

  Returns:
    [T] int32 with runs of image tokens expanded, and the same as text, for people, with one mark per picture.

  Raises:
    WeightsError: the template refuses the messages, or does not show each text and each picture once.
  """
  parts = [part for _, content in messages for part in _parts(content)]
  texts = [part for part in parts if isinstance(part, str)]
  runs = [part for part in parts if isinstance(part, int)]
  digest = hashlib.sha256('\0'.join(texts).encode('utf-8', 'replace')).hexdigest()
  seals = [f'[{digest}.{number}]' for number in range(len(texts))]
  left = iter(seals)
  rendered = tokenizer.apply_template(
    [{'role': role, 'content': _sealed(content, left)} for role, content in messages]
  )
  pieces = re.split(rf'\[{digest}\.\d+\]', rendered)
  if re.findall(rf'\[{digest}\.\d+\]', rendered) != seals:
    raise WeightsError(
      f'The chat template in {tokenizer.path} does not show every message once and in order; use a plain one.'
    )
  if (shown := sum(piece.count(IMAGE_PAD) for piece in pieces)) != len(runs):
    raise WeightsError(
      f'The chat template in {tokenizer.path} shows {shown} pictures where the messages have {len(runs)}; '
      'use the template of a vision-language model.'
    )
  return _encode(tokenizer, pieces, texts, runs), ''.join(
    text for pair in zip(pieces, [*texts, '']) for text in pair
  )


def _parts(content: Content) -> Sequence[str | int]:
  return [content] if isinstance(content, str) else content


def _sealed(content: Content, seals: Iterator[str]) -> Any:
  """What the template is given: seals for texts, entries without data for pictures."""
  if isinstance(content, str):
    return next(seals)
  return [
    {'type': 'text', 'text': next(seals)} if isinstance(part, str) else {'type': 'image'} for part in content
  ]


def _encode(tokenizer: Tokenizer, pieces: list[str], texts: list[str], runs: list[int]) -> np.ndarray:
  """The ids of the template's pieces with the texts between them; every image mark becomes a run."""
  ids: list[np.ndarray] = []
  stretch: list[str] = []
  left = iter(runs)

  def end_stretch() -> None:
    ids.append(tokenizer.encode(''.join(stretch)))
    stretch.clear()

  for piece, text in zip(pieces, [*texts, '']):
    for part in _split_specials(tokenizer, piece):
      if part in tokenizer.specials:
        end_stretch()
        ids.append(np.full(next(left) if part == IMAGE_PAD else 1, tokenizer.specials[part], np.int32))
      else:
        stretch.append(part)
    stretch.append(text)
  end_stretch()
  return np.concatenate(ids)


def _split_specials(tokenizer: Tokenizer, text: str) -> list[str]:
  longest_first = sorted(tokenizer.specials, key=len, reverse=True)
  pattern = '|'.join(re.escape(special) for special in longest_first)
  return re.split(f'({pattern})', text) if pattern else [text]
