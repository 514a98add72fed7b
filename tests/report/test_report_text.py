"""Text from a model stays text, whatever it spells."""

import html.parser
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmi_jax.report import text

FRAGMENTS = (
  '<script>',
  '</p>',
  '<img src=x onerror=a()>',
  '[a](',
  'javascript:a()',
  ')',
  '![b](http://e.org)',
)
FRAGMENTS += (
  '`',
  '```\n',
  '\n\n',
  '> ',
  '- ',
  '|a|b|\n|-|-|\n',
  '# ',
  '<a href="data:x">',
  '&lt;',
  '\x00',
  '\u202e',
)


class Tags(html.parser.HTMLParser):
  """Collects tags with their attributes."""

  def __init__(self):
    super().__init__()
    self.found = []

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))


def tags(markup):
  parser = Tags()
  parser.feed(str(markup))
  return parser.found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=8)), max_size=12).map(''.join))
def test_only_listed_tags_with_listed_attributes_come_out(source):
  for tag, attributes in tags(text.prose(source)):
    assert tag in text._TAGS | {'span'}
    assert set(attributes) <= {'href', 'rel', 'dir', 'class'}
    assert attributes.get('href', 'https:').startswith(('http:', 'https:'))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_nothing_invisible_is_left(source):
  shown = text.reveal(source)
  assert not text._HIDDEN.search(shown)
  shown.encode()


def test_invisible_characters_are_named():
  assert text.reveal('a\u202eb') == 'a⟦U+202E RIGHT-TO-LEFT OVERRIDE⟧b'
  assert text.reveal('\x00\ud800') == '⟦U+0000 NULL⟧⟦U+D800 SURROGATE⟧'
  assert text.reveal('a\u200db') == 'a⟦U+200D ZERO WIDTH JOINER⟧b'


@pytest.mark.parametrize('word', ['می\u200cروم', '👩\u200d👧', 'one\ttwo\nthree', 'naïve 東京'])
def test_letters_that_need_joiners_and_plain_white_space_stay(word):
  assert text.reveal(word) == word


def test_markdown_is_rendered_and_headings_fit_below_the_page():
  made = text.prose('# Lakes\n\n**deep** and `wide`\n\n- one\n', heading=4)
  assert [tag for tag, _ in tags(made)] == ['h4', 'p', 'strong', 'code', 'ul', 'li']


def test_pictures_in_markdown_are_shown_as_source():
  assert '![a](https://e.org/p.png)' in text.prose('![a](https://e.org/p.png)')
  assert not [tag for tag, _ in tags(text.prose('![a](data:image/png;base64,AAAA)')) if tag == 'img']


def test_links_lead_to_the_web_or_nowhere():
  hrefs = [
    a.get('href') for _, a in tags(text.prose('[a](../../secret) [b](https://e.org/b) [c](#d)')) if 'rel' in a
  ]
  assert hrefs == [None, 'https://e.org/b', None]


def test_cuts_are_said_with_both_lengths():
  assert 'Cut: 100 of 5,000 characters are shown.' in text.plain('x' * 5000, 100)
  assert 'Cut' not in text.plain('x' * 100, 100)


@pytest.mark.parametrize('unit', ['[', '![', '*a_', '](', '|a', '`a', '> ', '<', '[x]: a\n', '&'])
def test_long_hostile_markdown_is_rendered_in_time_and_bounded(unit):
  source = (unit * text.LIMIT)[: text.LIMIT]
  began = time.process_time()
  made = text.prose(source)
  assert time.process_time() - began < 30
  assert len(made) <= text._GROWTH * text.LIMIT + 200


def test_a_table_that_would_explode_stays_text():
  source = '|a' * 200 + '\n' + '|-' * 200 + '\n' + '|b\n' * 3000
  made = text.prose(source)
  assert 'Shown as it stands' in made and len(made) < 40_000


def test_an_address_is_linked_only_if_it_is_one():
  assert text.link('https://example.org/a?b=c')
  assert not any(map(text.link, ('javascript:a()', 'https://e.org/ x', 'data:text/html,x', '//e.org', '')))


def test_attributes_are_one_short_line():
  assert text.attribute('a\n b\u202e') == 'a b⟦U+202E RIGHT-TO-LEFT OVERRIDE⟧'
  assert len(text.attribute('x' * 999)) == 300
