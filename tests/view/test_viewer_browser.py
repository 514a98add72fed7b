"""The viewer in a real browser: keys, filters, addresses, live rows, comparison, hostile text, audits."""

import shutil

import pytest

from llmi_jax.data import rollouts
from llmi_jax.view.index import Index, runs
from tests.report import audit
from tests.view.conftest import serving


@pytest.fixture(scope='module')
def address(two):
  with serving(Index(runs(two))) as found:
    yield found


class Viewing:
  """A page of the viewer and everything that it asked of others or complained of."""

  def __init__(self, browser, address, path='/', width=1280, theme='light', javascript=True):
    self.context = browser.new_context(
      viewport={'width': width, 'height': 900}, color_scheme=theme, java_script_enabled=javascript
    )
    self.page = self.context.new_page()
    self.outside, self.messages = [], []
    own = (address, 'data:')
    self.page.on('request', lambda r: None if r.url.startswith(own) else self.outside.append(r.url))
    self.page.on('console', lambda m: self.messages.append(m.text))
    self.page.on('pageerror', lambda e: self.messages.append(str(e)))
    self.page.goto(address + path)

  def __enter__(self):
    return self

  def __exit__(self, *problem):
    self.context.close()

  def count(self):
    return int(self.page.locator('.count').inner_text().split(' of ')[0].replace(',', ''))

  def settle(self, condition):
    """Waits until a condition holds; the page's policy forbids Playwright's own way of doing so."""
    for _ in range(600):
      if self.page.evaluate(f'Boolean({condition})'):
        return
      self.page.wait_for_timeout(100)
    raise AssertionError(condition)


@pytest.fixture
def view(browser):
  return lambda address, path='/', **options: Viewing(browser, address, path, **options)


def test_filters_keys_and_the_address(view, address):
  with view(address, '/?kind=train') as v:
    every = v.count()
    v.page.keyboard.press('/')
    v.page.keyboard.type('dawn')
    v.settle("location.search.includes('q=dawn')")
    found = v.count()
    assert 0 < found < every
    v.page.keyboard.press('Escape')
    v.page.select_option('select[name=sort]', '-reward')
    v.settle("location.search.includes('sort=-reward')")
    v.page.keyboard.press('j')
    v.settle("location.search.includes('open=')")
    v.settle("document.querySelector('#detail article')")
    first = v.page.locator('#detail article').get_attribute('id')
    v.page.keyboard.press('j')
    v.settle(f"document.querySelector('#detail article')?.id !== '{first}'")
    second = v.page.locator('#detail article').get_attribute('id')
    assert v.page.locator('.rows a[aria-current]').get_attribute('id') == f'row-{second}'
    here, group = second.rpartition('/')[2], v.page.locator('.siblings a').count()
    v.page.keyboard.press('n' if int(here) < group - 1 else 'p')
    v.settle(f"document.querySelector('#detail article').id !== '{second}'")
    assert (
      v.page.locator('#detail article').get_attribute('id').rpartition('/')[0] == second.rpartition('/')[0]
    )
    kept = v.page.url
    v.page.reload()
    assert v.page.url == kept and v.count() == found
    assert v.page.locator('input[type=search]').input_value() == 'dawn'
    v.page.go_back()
    v.settle(f"document.querySelector('#detail article').id === '{second}'")
    assert v.outside == [] and v.messages == []


def test_rows_come_while_a_run_trains(view, make, two, tmp_path):
  folder = tmp_path / 'herons'
  shutil.copytree(two[0], folder)
  (folder / 'summary.json').unlink()
  with serving(Index(runs([folder]))) as address, view(address) as v:
    before = v.count()
    sampled = make.Answering().text('fresh').sample(make.task('late'), 70)
    rollouts.write(folder, 'train', 71, [sampled], make.weights)
    v.settle(f"document.querySelector('.count').textContent.startsWith('{before + 1} ')")
    assert 'late' in v.page.locator('.rows').inner_text() and v.messages == []


def test_a_comparison_shows_signs_colours_and_picture_pairs(view, address):
  with view(address, '/compare?side=herons@0&side=herons@8') as v:
    deltas = v.page.locator('.aligned .delta').all_inner_texts()
    assert deltas and all(text[0] in '+−' for text in deltas)
    ups = v.page.locator('.aligned .delta .up')
    assert ups.count() == sum(text[0] == '+' for text in deltas)
    v.page.locator('.aligned > li > a').first.click()
    v.settle("document.querySelectorAll('.aligned article').length === 2")
    assert v.page.locator('.aligned img').evaluate_all('all => all.every((i) => i.alt)')
    assert '95 % interval' in v.page.locator('.figures thead').inner_text()
    assert 'open=' in v.page.url and v.outside == [] and v.messages == []


def test_it_works_without_javascript(view, address):
  with view(address, javascript=False) as v:
    v.page.fill('input[type=search]', 'june')
    v.page.locator('#filter button').click()
    assert 'q=june' in v.page.url
    v.page.locator('.rows a').first.click()
    assert v.page.locator('#detail article').count() == 1


def test_hostile_rollouts_stay_inert_and_the_viewer_intact(view, attacked):
  index = Index(runs([attacked]))
  with serving(index) as address, view(address, '/?kind=train') as v:
    for number in range(4):
      v.page.locator('.rows a').nth(number).click()
      v.settle("document.querySelector('#detail article')")
      for summary in v.page.locator('#detail summary').all():
        summary.evaluate('s => s.parentElement.open = true')
    assert v.page.evaluate('window.pwned') is None
    assert (
      v.page.evaluate("document.querySelectorAll('#detail :is(script, iframe, form, input, base)').length")
      == 0
    )
    shown = v.page.locator('#detail').inner_text()
    assert '⟦U+202E RIGHT-TO-LEFT OVERRIDE⟧' in shown
    assert v.page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    v.page.goto(f'{address}/compare')
    assert v.page.evaluate('window.pwned') is None and v.outside == [] and v.messages == []


@pytest.mark.slow
@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('path', ['/?errors=yes&open=herons/0/lakes/1/0', '/compare', '/?q=nothing+like+it'])
def test_it_passes_an_accessibility_audit(view, address, path, theme):
  with view(address, path, theme=theme) as v:
    assert audit.faults(v.page) == []


@pytest.mark.slow
@pytest.mark.parametrize('path', ['/', '/?open=herons/0/lakes/1/0', '/compare'])
def test_a_phone_needs_no_sideways_scrolling(view, address, path):
  with view(address, path, width=360) as v:
    assert v.page.evaluate('document.documentElement.scrollWidth') <= 360
