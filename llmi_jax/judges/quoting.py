"""Quoting what a model wrote so that it stays a quotation: nothing invisible, reserved or endless.

A chat template's own marks (`<|im_start|>`), placeholders of pictures and invisible characters are what
injections are made of; a judge has no use for them.
"""

import re
import unicodedata

REMOVED = '▢'
_RESERVED = re.compile(
  r"""
  <\|[^<>|\n]{0,64}\|>                        # <|im_start|>, <|vision_pad|>
  | <｜[^<>｜\n]{0,64}｜>                       # the same with full-width bars
  | </?(?:s|bos|eos|unk|pad|mask)>
  | \[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|IMG|IMG_BREAK|IMG_END)\]
  | <</?SYS>>
  | </?(?:system|assistant|user|human|start_of_turn|end_of_turn|start_of_image|end_of_image)>
  | </?(?:image|img|video|audio|fail_to_generate_image|image_soft_token)/?>
  """,
  re.IGNORECASE | re.VERBOSE,
)
_KEPT = '\n\t\u200c\u200d'  # joiners are letters' business in several scripts


def clean(text: str) -> str:
  """The text without invisible characters, reserved sequences replaced by a visible mark."""
  seen = text if text.replace('\n', '').isprintable() else ''.join(filter(_visible, text))
  while True:  # removing one may bring the halves of another together; each round shortens the text
    shorter = _RESERVED.sub(REMOVED, seen)
    if shorter == seen:
      return seen
    seen = shorter


def _visible(character: str) -> bool:
  return character in _KEPT or unicodedata.category(character) not in ('Cc', 'Cf', 'Co', 'Cs', 'Cn')


def reserved(text: str) -> list[str]:
  """The reserved sequences of a text, as they stand in it."""
  return [found[0] for found in _RESERVED.finditer(text)]


def bound(text: str, most: int) -> str:
  """The text, cut in its middle to about `most` characters; the cut says how much is missing."""
  if len(text) <= most:
    return text
  head = most * 2 // 3
  tail = most - head
  return f'{text[:head]}\n[… {len(text) - most:,} characters left out …]\n{text[len(text) - tail :]}'


def quote(text: str, most: int) -> str:
  """Cleaned and bounded. What is far too long is cut before it is cleaned, so that cleaning stays cheap."""
  return bound(clean(bound(text, 2 * most)), most)
