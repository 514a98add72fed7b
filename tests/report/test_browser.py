"""Reports in a real browser: they open from a file, ask nothing of anybody, and hostile text stays text."""

import pytest

from llmi_jax.report import document, page
from tests.report import attacks, audit


@pytest.fixture(scope='module')
def report(run_folder):
  return page.build(run_folder)


@pytest.fixture(scope='module')
def hostile(make, tmp_path_factory):
  return page.build(attacks.write(make, tmp_path_factory.mktemp('hostile') / 'run'))


def test_a_report_opens_from_a_file_without_a_request_or_an_error(visit, report):
  with visit(report) as v:
    assert v.outside == [] and v.messages == []
    assert v.page.locator('h1').inner_text() == 'herons'
    assert v.page.locator('article.rollout').count() >= 10


def test_every_picture_is_visible_and_described(visit, report):
  with visit(report) as v:
    pictures = v.page.locator('main img').evaluate_all(
      'all => all.map(i => [i.naturalWidth, i.getBoundingClientRect().width, i.alt])'
    )
  assert len(pictures) >= 10
  assert all(natural > 0 and shown > 40 and alt for natural, shown, alt in pictures)


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_text_has_contrast_in_both_themes(visit, report, theme):
  with visit(report, theme=theme) as v:
    worst = v.page.evaluate(_CONTRAST)
  assert worst[0] >= 4.5, worst


def test_a_phone_needs_no_sideways_scrolling(visit, report):
  with visit(report, width=360) as v:
    assert v.page.evaluate('document.documentElement.scrollWidth') <= 360


def test_it_is_readable_without_javascript(visit, report):
  with visit(report, javascript=False) as v:
    assert v.page.locator('svg.chart').count() == 9
    assert not v.page.locator('input, button').first.is_visible()  # they would do nothing
    v.page.locator('figure.plot summary').first.click()
    assert v.page.locator('figure.plot table').first.is_visible()


def test_the_script_reads_charts_and_walks_documents(visit, report):
  with visit(report) as v:
    plot = v.page.locator('figure.plot').first
    plot.scroll_into_view_if_needed()
    plot.locator('svg').hover(position={'x': 60, 'y': 40})
    assert 'step' in plot.locator('h3').inner_text()
    v.page.keyboard.press('j')
    v.page.keyboard.press('j')
    second = v.page.locator('article.rollout').nth(1).get_attribute('id')
    assert v.page.evaluate('document.activeElement.id') == second


def test_the_theme_follows_the_system_and_a_choice_is_remembered(visit, report):
  ground = 'getComputedStyle(document.body).backgroundColor'
  with visit(report, theme='dark') as v:
    dark = v.page.evaluate(ground)
    v.page.locator('#theme').click()
    light = v.page.evaluate(ground)
    v.page.reload()
    assert v.page.evaluate(ground) == light != dark
    v.page.keyboard.press('t')
    assert v.page.evaluate(ground) == dark
    assert v.messages == []


def test_search_sections_and_keys(visit, report):
  with visit(report) as v:
    every = v.page.locator('article.rollout').count()
    v.page.keyboard.press('/')
    v.page.keyboard.type('NameError: name pd')
    shown = v.page.locator('article.rollout:visible').count()
    assert 0 < shown < every
    assert v.page.locator('#found').inner_text() == f'{shown} of {every} documents'
    v.page.keyboard.press('Escape')
    v.page.keyboard.press('n')
    v.page.keyboard.press('n')
    assert v.page.evaluate('document.activeElement.id') == 'training'
    assert v.page.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    v.page.keyboard.press('?')
    assert v.page.locator('dialog').is_visible()
    v.page.locator('#close').click()
    assert not v.page.locator('dialog').is_visible()


def test_a_name_in_the_address_opens_that_document(visit, report):
  with visit(report) as v:
    last = v.page.locator('article.rollout').last
    name = last.get_attribute('id')
    assert name.startswith('herons/')
    page.build(report.parent)
    v.page.goto(f'{v.address}#{name}')
    assert v.page.locator('article.rollout:target').get_attribute('id') == name
    for _ in range(100):  # the page glides there
      if last.evaluate('e => e.getBoundingClientRect().top < innerHeight'):
        return
      v.page.wait_for_timeout(50)
    raise AssertionError(name)


@pytest.mark.parametrize('theme', ['light', pytest.param('dark', marks=pytest.mark.slow)])
def test_a_report_passes_an_accessibility_audit(visit, report, theme):
  with visit(report, theme=theme) as v:
    assert audit.faults(v.page) == []


def test_pictures_beside_a_full_file_are_shown_from_a_file_url(visit, make, tmp_path, monkeypatch):
  make.run(tmp_path, steps=8)
  size = page.build(tmp_path).stat().st_size
  monkeypatch.setattr(page, 'MOST_BYTES', size - 8_000)
  monkeypatch.setattr(page, '_SPARE', 3_000)
  with visit(page.build(tmp_path, lambda words: None)) as v:
    beside = v.page.locator('img[src^="images/"]')
    assert beside.count()
    for one in beside.all():
      one.scroll_into_view_if_needed()
    v.page.wait_for_function('[...document.images].every((i) => i.naturalWidth > 0)')
    assert v.messages == [] and all(url.startswith('file:') for url in v.outside)


def test_paper_gets_ink_on_white_and_no_controls(visit, report):
  with visit(report, theme='dark') as v:
    v.page.emulate_media(media='print', color_scheme='dark')
    assert v.page.evaluate('getComputedStyle(document.documentElement).colorScheme') == 'light'
    assert not v.page.locator('#theme').is_visible() and v.page.locator('article.rollout').first.is_visible()


def test_the_policy_refuses_scripts_and_styles_that_it_does_not_know(visit, report):
  with visit(report) as v:
    v.page.evaluate(
      "for (const [tag, text] of [['script', 'window.pwned = 1'], ['style', 'h1 { display: none }']]) {"
      '  const made = document.createElement(tag); made.textContent = text; document.head.append(made); }'
    )
    assert v.page.evaluate('window.pwned') is None
    assert v.page.locator('h1').is_visible()
    assert len(v.messages) == 2 and all('Content Security Policy' in m for m in v.messages)


def test_hostile_text_is_shown_and_inert(visit, hostile):
  with visit(hostile) as v:
    for summary in v.page.locator('summary').all():
      summary.evaluate('s => s.parentElement.open = true')
    assert v.outside == [] and v.messages == []
    assert v.page.evaluate('window.pwned') is None
    assert v.page.evaluate("document.querySelectorAll('script').length") == 1
    assert v.page.evaluate("document.querySelectorAll('iframe, form, main input, base, object').length") == 0
    targets = v.page.locator('a').evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert all(t.startswith(('#', 'http://', 'https://', 'images/')) for t in targets)
    shown = v.page.locator('main').inner_text()
  assert '<script>window.pwned = 1; alert(1)</script>' in shown
  assert '⟦U+202E RIGHT-TO-LEFT OVERRIDE⟧' in shown and '⟦U+001B ESCAPE⟧' in shown
  assert '5,000,000 characters' in shown
  assert '⟦U+200B ZERO WIDTH SPACE⟧' in shown and '20000' in hostile.read_text()


def test_hostile_runs_stay_small(hostile):
  assert hostile.stat().st_size < page.MOST_BYTES


def test_a_single_document_opens_with_its_pictures(visit, make, tmp_path):
  sampled = make.Answering().text(attacks.TEXT).picture('search', make.scene(1)).sample(make.task('a'), 0)
  path = document.write(tmp_path / 'doc.html', sampled.task, sampled.answer)
  with visit(path) as v:
    assert v.outside == [] and v.messages == [] and v.page.evaluate('window.pwned') is None
    assert v.page.locator('img').evaluate_all('all => all.map(i => i.naturalWidth)') == [300]


# The worst contrast of any text against the nearest background behind it, by the WCAG formula.
_CONTRAST = """() => {
  const channels = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(c).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if ((channels(c)[3] ?? 1) > 0) return c;
    }
    return 'rgb(255, 255, 255)';
  };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.className + ' ' + e.textContent.slice(0, 40)];
  }
  return worst;
}"""
