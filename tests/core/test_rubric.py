import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmi_jax.core.rubric import KINDS, Edits, Mentions, Plots, Shows, criteria, parse

WORDS = st.text('abcdefgh', min_size=1, max_size=8)
PHRASES = st.lists(WORDS, min_size=1, max_size=4).map(' '.join)
CRITERIA = st.one_of(
  st.builds(Mentions, PHRASES),
  st.builds(Shows, PHRASES),
  st.builds(
    Plots,
    st.lists(st.integers(-99, 99).map(float), min_size=1, max_size=6).map(tuple),
    st.sampled_from(KINDS),
    PHRASES,
  ),
  st.builds(Edits, PHRASES, st.integers(0, 9), PHRASES),
)


@given(CRITERIA)
def test_what_is_written_is_read(criterion):
  assert parse(str(criterion)) == criterion


@pytest.mark.parametrize(
  'line',
  ['', 'shows', 'shows: ', 'plots: as line of x', 'plots: 1, 2 as cake of x', 'edits: x', 'Is it kind?'],
)
def test_other_wordings_are_no_criteria(line):
  assert parse(line) is None
  assert criteria([line, 'shows: a cat']) == (Shows('a cat'),)


@given(st.text())
def test_any_line_is_read_without_error(line):
  parse(line)
