"""A folder's tokenizer: text ↔ token ids, and which tokens made which segment."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmi_jax.core.document import Document
from llmi_jax.core.errors import WeightsError
from llmi_jax.text.detokenize import Decoder, byte_alphabet, character_starts

IMAGE_PAD = '<|image_pad|>'
# Qwen's chat models stop at either, whichever of them their files name.
STOPS = ('<|im_end|>', '<|endoftext|>')


class Tokenizer:
  """What the rooms need of a tokenizer; made by `load`.

  Attributes:
    path: the folder it came from.
    vocab_size: how many ids it knows; a model's embedding may have more rows.
    pad_id: fills up batches.
    stop_ids: each ends a response; sorted.
    image_pad_id: stands for a picture's features, or None where the vocabulary has no such token.
    specials: special tokens by their text.
    digest: SHA-256 over tokenizer.json and the chat template.
  """

  def __init__(self, path: Path, hf: Any):
    from tokenizers import Tokenizer as Backend

    self.path = path
    self.vocab_size: int = len(hf)
    self.pad_id: int = hf.pad_token_id
    added = hf.added_tokens_decoder
    self.specials: Mapping[str, int] = {token.content: i for i, token in added.items() if token.special}
    self.stop_ids = _stop_ids(path, hf.eos_token_id, self.specials)
    self.image_pad_id: int | None = self.specials.get(IMAGE_PAD)
    template = (path / 'tokenizer.json').read_bytes() + str(hf.chat_template).encode()
    self.digest = hashlib.sha256(template).hexdigest()
    self._hf = hf
    # A copy of our own: in it, a special token's text inside somebody's text is text.
    self._plain = Backend.from_str(hf.backend_tokenizer.to_str())
    self._plain.encode_special_tokens = True
    self._plain.no_truncation()
    self._plain.no_padding()

  def encode(self, text: str) -> np.ndarray:
    """[T] int32. Nothing in `text` becomes a special token."""
    return np.asarray(self._plain.encode(text, add_special_tokens=False).ids, np.int32)

  def decode(self, ids: Iterable[int]) -> str:
    """The text of tokens, special ones left out; broken UTF-8 becomes replacement marks."""
    return b''.join(self._table[i] for i in ids).decode('utf-8', 'replace')

  def decoder(self) -> Decoder:
    """A fresh incremental `decode`."""
    return Decoder(self._table)

  def token_ranges(self, ids: Sequence[int] | np.ndarray, document: Document) -> Document:
    """The document with every segment's half-open range of tokens.

    A token belongs to the segment in which its first character lies. A token after the last character, such
    as the stop token, belongs to none.

    Args:
      ids: [T], the sampled tokens.
      document: the parsed `decode(ids)`.

    Raises:
      ValueError: the document is another text's.
    """
    starts, text = character_starts(ids, self._table)
    if text != document.response:
      raise ValueError('These tokens decode to another text than the document holds.')
    borders = np.searchsorted(starts, [0, *(segment.end for segment in document.segments)])
    ranges = zip(document.segments, borders, borders[1:])
    segments = tuple(dataclasses.replace(s, tokens=(int(first), int(last))) for s, first, last in ranges)
    return dataclasses.replace(document, segments=segments)

  def apply_template(self, messages: Sequence[Mapping[str, Any]]) -> str:
    """Renders role-and-content messages with the folder's chat template, ready for the reply.

    A content is a text, or a list of text and image entries.

    Raises:
      WeightsError: the template refuses the messages.
    """
    from jinja2 import TemplateError

    try:
      return self._hf.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError) as error:  # a template for texts adds a list to a text
      roles = ', '.join(message['role'] for message in messages)
      raise WeightsError(
        f'The chat template in {self.path} refuses the roles {roles} ({error}); use another tokenizer.'
      ) from error

  @functools.cached_property
  def _table(self) -> list[bytes]:
    alphabet = byte_alphabet()
    added = self._hf.added_tokens_decoder
    table = [b''] * self.vocab_size
    for token, i in self._hf.get_vocab().items():
      if i not in added:
        table[i] = bytes(alphabet[character] for character in token)
      elif not added[i].special:
        table[i] = added[i].content.encode()
    return table


def load(path: str | Path) -> Tokenizer:
  """Loads the tokenizer of a model's folder, from its files alone.

  Raises:
    WeightsError: the folder, one of its files or what a chat model needs is missing or broken.
  """
  folder = Path(path)
  if not folder.is_dir():
    raise WeightsError(
      f'The tokenizer folder {folder} does not exist; give a folder that holds tokenizer.json.'
    )
  _check_file(folder / 'tokenizer.json')
  # Not AutoTokenizer: where torch is installed, that imports it.
  from transformers import PreTrainedTokenizerFast

  try:
    hf = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    reason = ' '.join(str(error).split())[:200]
    raise WeightsError(
      f'The tokenizer in {folder} cannot be loaded ({reason}); restore its files.'
    ) from error
  for name, value in (
    ('chat template', hf.chat_template),
    ('padding token', hf.pad_token_id),
    ('end token', hf.eos_token_id),
  ):
    if value is None:
      raise WeightsError(f'The tokenizer in {folder} has no {name}; use the files of a chat model.')
  return Tokenizer(folder, hf)


def _check_file(file: Path) -> None:
  """Finds what would fail deep inside a library, without a word about the file."""
  try:
    content = json.loads(file.read_bytes())
    model, decoder = content['model'], json.dumps(content['decoder'])
    vocab, merges = model['vocab'], model['merges']
    known = all(set(_parts(merge)) | {''.join(_parts(merge))} <= vocab.keys() for merge in merges)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise WeightsError(f'{file} is missing or broken; restore it from where the model came.') from error
  if model['type'] != 'BPE' or 'ByteLevel' not in decoder:
    raise WeightsError(f'{file} is no byte-level BPE tokenizer; only such ones, as Qwen has, are supported.')
  if not known:
    raise WeightsError(f'{file} has merges of tokens that its vocabulary lacks; restore it from the model.')


def _parts(merge: str | list[str]) -> list[str]:
  return merge.split(' ') if isinstance(merge, str) else merge


def _stop_ids(folder: Path, eos: int, specials: Mapping[str, int]) -> tuple[int, ...]:
  named: int | list[int] | None = eos
  file = folder / 'generation_config.json'
  if file.exists():
    try:
      named = json.loads(file.read_bytes()).get('eos_token_id', eos)
    except (OSError, ValueError, AttributeError) as error:
      raise WeightsError(f'{file} is broken; restore it or remove it.') from error
  ids = {eos, *(named if isinstance(named, list) else [eos if named is None else named])}
  return tuple(sorted(ids | {specials[stop] for stop in STOPS if stop in specials}))
