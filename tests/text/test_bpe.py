import subprocess
import sys

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.text import bpe, tokens

TEXT = 'The lake was still. The lake was 2024 metres deep. <think>lake</think> "}}</imgen> end'
SKELETONS = ('<imgen>{"source": "', '<imgen>{"source": "search", "description": "', '"}}</imgen>')
FILES = ('tokenizer.json', 'tokenizer_config.json', 'generation_config.json', 'chat_template.jinja')


def pieces(tokenizer, text):
  return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


def test_the_same_texts_give_the_same_bytes_in_any_process(tmp_path):
  code = (
    'import sys; from llmi_jax.text import bpe; bpe.train([sys.argv[1]] * 3, sys.argv[2], vocab_size=400)'
  )
  for name in ('one', 'two'):
    subprocess.run([sys.executable, '-c', code, TEXT, str(tmp_path / name)], check=True)
  for file in FILES:
    assert (tmp_path / 'one' / file).read_bytes() == (tmp_path / 'two' / file).read_bytes()


def test_skeletons_are_one_token_each_wherever_they_stand(tmp_path):
  bpe.train([TEXT] * 3, tmp_path, vocab_size=420, skeletons=SKELETONS)
  tokenizer = tokens.load(tmp_path)
  tag = SKELETONS[1] + 'lake' + SKELETONS[2]
  assert pieces(tokenizer, f'.{tag}x {tag}')[1:5] == [SKELETONS[1], 'lake', SKELETONS[2], 'x']
  assert pieces(tokenizer, SKELETONS[0] + 'code')[0] == SKELETONS[0]


def test_words_and_numbers_keep_their_space(tmp_path):
  bpe.train([TEXT] * 3, tmp_path, vocab_size=420)
  tokenizer = tokens.load(tmp_path)
  assert pieces(tokenizer, ' lake lake') == [' lake', ' lake']
  bpe.train([' 12, 12, 12' * 9], tmp_path, vocab_size=320)
  assert pieces(tokens.load(tmp_path), ' 12, 12') == [' 12', ',', ' 12']


def test_no_more_than_the_wanted_size_and_no_merge_spent_on_skeletons(tmp_path):
  texts = [SKELETONS[1] * 50 + ' lake house' * 50]
  bpe.train(texts, tmp_path, vocab_size=290, skeletons=SKELETONS)
  tokenizer = tokens.load(tmp_path)
  assert tokenizer.vocab_size <= 290
  assert ' lake' in pieces(tokenizer, ' lake')


def test_a_size_without_room_for_the_bytes_is_refused(tmp_path):
  with pytest.raises(ConfigError, match='260 tokens is too small'):
    bpe.train([TEXT], tmp_path / 'none', vocab_size=260)
  assert not (tmp_path / 'none').exists()
