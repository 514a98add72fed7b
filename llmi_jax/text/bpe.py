"""Makes a small byte-level BPE tokenizer in the form of Qwen's: its special tokens, chat form and files.

Words and numbers keep their leading space; a number is cut into pairs of digits. Skeletons are fixed strings,
such as the beginning of a tag, that are one token each: they are isolated before anything else looks at the
text, and the merges that would build them up spend no vocabulary. Nothing is normalised, so any text comes
back exactly.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from llmi_jax.core.errors import ConfigError

PAD, START, END = '<|endoftext|>', '<|im_start|>', '<|im_end|>'
SPECIALS = (
  PAD,
  START,
  END,
  *(f'<|{name}_{edge}|>' for name in ('object_ref', 'box', 'quad', 'vision') for edge in ('start', 'end')),
  *(f'<|{name}_pad|>' for name in ('vision', 'image', 'video')),
)
PLAIN = ('<think>', '</think>')
BYTES = 256

# Contractions; words with one character before them; pairs of digits, with a space before them if there is
# one; runs of marks; line ends; spaces.
_WORDS = (
  r"(?i:'(?:s|t|re|ve|m|ll|d))|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}{1,2}"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""


def train(
  texts: Iterable[str], folder: str | Path, *, vocab_size: int, skeletons: Sequence[str] = ()
) -> None:
  """Trains a tokenizer and writes the files that `tokens.load` reads. The same texts give the same bytes.

  Args:
    texts: what it should encode briefly.
    folder: made if missing; its tokenizer files are replaced.
    vocab_size: the most tokens, skeletons and special tokens included; fewer if the texts hold no more.
    skeletons: strings that are one token each. None should begin with a space.

  Raises:
    ConfigError: `vocab_size` has no room for the bytes, the skeletons and the special tokens.
  """
  from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

  fixed = (*dict.fromkeys(skeletons), *PLAIN)
  merged_size = vocab_size - len(fixed) - len(SPECIALS)
  if merged_size < BYTES:
    least = BYTES + len(fixed) + len(SPECIALS)
    raise ConfigError(
      f'A vocabulary of {vocab_size} tokens is too small; these skeletons need {least} at least.'
    )
  tokenizer = Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
    [
      pre_tokenizers.Split(Regex(_WORDS), 'isolated'),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  trainer = trainers.BpeTrainer(vocab_size=merged_size, initial_alphabet=alphabet, show_progress=False)
  tokenizer.train_from_iterator(_between(texts, (*fixed, *SPECIALS)), trainer)
  tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in fixed])
  tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
  _write(tokenizer.to_str(), {text: tokenizer.token_to_id(text) for text in (PAD, END)}, Path(folder))


def _between(texts: Iterable[str], fixed: Sequence[str]) -> Iterator[str]:
  """The texts without the strings that are tokens already."""
  pattern = re.compile('|'.join(re.escape(text) for text in sorted(fixed, key=len, reverse=True)))
  for text in texts:
    yield from filter(None, pattern.split(text))


def _write(tokenizer: str, ids: Mapping[str, int | None], folder: Path) -> None:
  config = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'eos_token': END,
    'pad_token': PAD,
    'additional_special_tokens': [text for text in SPECIALS if text not in (PAD, END)],
    'clean_up_tokenization_spaces': False,
    'model_max_length': 1 << 20,
  }
  generation = {'eos_token_id': [ids[END], ids[PAD]], 'pad_token_id': ids[PAD]}
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'tokenizer.json').write_text(tokenizer, 'utf-8')
  (folder / 'tokenizer_config.json').write_text(json.dumps(config, indent=2) + '\n', 'utf-8')
  (folder / 'generation_config.json').write_text(json.dumps(generation, indent=2) + '\n', 'utf-8')
  (folder / 'chat_template.jinja').write_text(CHAT_TEMPLATE, 'utf-8')
