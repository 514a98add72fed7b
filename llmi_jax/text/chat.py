"""Messages → token ids, by the tokenizer's own chat template.

Whatever a message says stays text: the template is rendered around seals that stand for the contents, only
what the template itself wrote can become a special token, and everything between two of those is encoded in
one go, as the template's author had it encoded.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from llmi_jax.core.errors import WeightsError
from llmi_jax.text.tokens import Tokenizer


def encode_chat(tokenizer: Tokenizer, messages: Sequence[tuple[str, str]]) -> tuple[np.ndarray, str]:
  """Encodes a conversation up to where the reply begins.

  Args:
    tokenizer: whose template and vocabulary.
    messages: (role, content) pairs.

  Returns:
    [T] int32 and the same as text, for people.

  Raises:
    WeightsError: the template refuses the messages, or does not show each of them once.
  """
  contents = [content for _, content in messages]
  digest = hashlib.sha256('\0'.join(contents).encode('utf-8', 'replace')).hexdigest()
  seals = [f'[{digest}.{number}]' for number in range(len(contents))]
  rendered = tokenizer.apply_template(
    [{'role': role, 'content': seal} for (role, _), seal in zip(messages, seals)]
  )
  pieces = re.split(rf'\[{digest}\.\d+\]', rendered)
  if re.findall(rf'\[{digest}\.\d+\]', rendered) != seals:
    raise WeightsError(
      f'The chat template in {tokenizer.path} does not show every message once and in order; use a plain one.'
    )
  ids: list[np.ndarray] = []
  run: list[str] = []

  def end_run() -> None:
    ids.append(tokenizer.encode(''.join(run)))
    run.clear()

  text = []
  for piece, content in zip(pieces, [*contents, '']):
    text += [piece, content]
    for part in _split_specials(tokenizer, piece):
      if part in tokenizer.specials:
        end_run()
        ids.append(np.asarray([tokenizer.specials[part]], np.int32))
      else:
        run.append(part)
    run.append(content)
  end_run()
  return np.concatenate(ids), ''.join(text)


def _split_specials(tokenizer: Tokenizer, text: str) -> list[str]:
  longest_first = sorted(tokenizer.specials, key=len, reverse=True)
  pattern = '|'.join(re.escape(special) for special in longest_first)
  return re.split(f'({pattern})', text) if pattern else [text]
