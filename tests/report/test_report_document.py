"""Single documents as pages and as Markdown."""

import pytest
from markdown_it import MarkdownIt

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import Attribution
from llmi_jax.report import document


@pytest.fixture
def sampled(make):
  credit = Attribution('Heron', 'A. Nyholm', 'CC BY 4.0', 'https://example.org/h')
  built = make.Answering(inputs=1).thought('secret plan').text('# Herons\n\nThey *wait*.\n\n')
  built.picture('search', make.scene(1), 'A [grey] heron', credit=credit).lost('code')
  return built.sample(make.task('birds/1', image=make.scene(9)), 0)


def test_a_page_has_the_request_the_text_and_the_pictures_but_no_thoughts(sampled, tmp_path):
  html = document.write(tmp_path / 'a.html', sampled.task, sampled.answer).read_text()
  assert 'Tell a visitor how herons hunt' in html and '<h2 dir="auto">Herons</h2>' in html
  assert html.count('data:image/webp') == 2 and 'alt="A [grey] heron"' in html
  assert 'The code tool gave no picture here.' in html and 'CC BY 4.0' in html
  assert 'secret plan' not in html


def test_markdown_comes_with_its_pictures(sampled, tmp_path):
  path = document.write(tmp_path / 'out' / 'a.md', sampled.task, sampled.answer)
  made = path.read_text()
  (picture,) = (path.parent / 'a_images').iterdir()
  assert picture.read_bytes() == sampled.answer.pictures[0].image.png
  assert f'![A \\[grey\\] heron](a_images/{picture.name})' in made
  assert '# Herons\n\nThey *wait*.' in made and 'CC BY 4.0' in made
  assert '> *The code tool gave no picture here.*' in made and 'secret plan' not in made


def test_markdown_from_a_model_has_no_html_and_no_foreign_pictures(make):
  attack = (
    '<script>x()</script> ![a](https://evil.example/p.png)\n\n```\n<b>\n```\n<img src="https://evil.example">'
  )
  sampled = make.Answering().text(attack).picture('search', make.scene(1), attack).sample(make.task('a'), 0)
  made = document.markdown(sampled.task, sampled.answer, 'images')
  html = MarkdownIt('commonmark').render(made)
  assert '<script' not in html and html.count('<img') == 1 and 'src="images/' in html


def test_other_endings_are_refused_before_anything_is_written(sampled, tmp_path):
  with pytest.raises(ConfigError, match=r'a\.pdf ends in neither \.html nor \.md'):
    document.write(tmp_path / 'a.pdf', sampled.task, sampled.answer)
  assert list(tmp_path.iterdir()) == []
