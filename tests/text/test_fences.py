import hypothesis.strategies as st
from hypothesis import assume, given, settings
from markdown_it import MarkdownIt

from llmi_jax.text.fences import Fences

# HTML blocks and link definitions are not followed; tabs behind a container are where parsers differ.
MARKDOWN = MarkdownIt('commonmark').disable(['html_block', 'reference'])
PIECES = st.sampled_from(
  [
    '```',
    '````',
    '~~~',
    '\n',
    '\n\n',
    '> ',
    '- ',
    '1. ',
    '2) ',
    '* ',
    '   ',
    ' ',
    '    ',
    'a',
    '`',
    '---',
    '# ',
    '===',
  ]
)
pieces = st.lists(PIECES, max_size=12).map(''.join)
TAG = 'TAG'


def by_commonmark(before: str, after: str) -> bool:
  tokens = MARKDOWN.parse(before + TAG + after)
  return any(TAG in token.content + token.info for token in tokens if token.type == 'fence')


def by_us(before: str, after: str) -> bool | None:
  fences = Fences()
  fences.add(before)
  fences.add_tag()
  for character in after:
    fences.add(character)
  fences.close()
  return fences.inside


@settings(max_examples=600, deadline=None)
@given(pieces, pieces)
def test_fences_are_found_where_commonmark_finds_them(before, after):
  # After four spaces, markdown-it takes a quote's mark for a quote where the specification says it is none.
  assume('     > ' not in before and '    > ' not in before)
  assert by_us(before, after) == by_commonmark(before, after)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, min_size=2, max_size=6))
def test_several_tags_get_the_verdict_each_would_get_alone(texts):
  fences, verdicts = Fences(), []
  for number, text in enumerate(texts[:-1]):
    fences.add(text)
    if verdicts and verdicts[-1] is None:
      verdicts[-1] = fences.inside
    fences.add_tag()
    verdicts.append(fences.inside)
    before = 'x'.join(texts[: number + 1])
    after = 'x'.join(['', *texts[number + 1 :]])
    if fences.inside is not None:
      assert fences.inside == by_us(before, after)


def test_windows_line_ends_close_fences():
  assert by_us('```\r\ncode\r\n```\r\n', '') is False
  assert by_us('> ```\r\n> ', '') is True


def test_a_line_of_backticks_is_undecided_until_it_ends_or_shows_another():
  fences = Fences()
  fences.add('``` ')
  fences.add_tag()
  assert fences.inside is None
  fences.add(' text')
  assert fences.inside is None
  fences.add('`')
  assert fences.inside is False
