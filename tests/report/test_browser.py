"""Reports in a real browser: they open from a file, ask nothing of anybody, and hostile text stays text."""

import json

import pytest

from llmi_jax.core.outcome import Attribution
from llmi_jax.core.task import ImageRule
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data import rollouts
from llmi_jax.report import document, page

ATTACKS = (
  '<script>window.pwned = 1; alert(1)</script>',
  '<img src=x onerror="window.pwned=1">',
  '<svg onload="window.pwned=1"><script>alert(2)</script></svg>',
  '[click](javascript:window.pwned=1)',
  '![x](https://evil.example/pixel.png)',
  '<img src="https://evil.example/pixel.png">',
  '<iframe src="https://evil.example"></iframe><base href="https://evil.example/">',
  '<style>*{display:none}</style><link rel=stylesheet href="https://evil.example/a.css">',
  '<meta http-equiv=refresh content="0;url=https://evil.example">',
  '<form action="https://evil.example"><input autofocus onfocus="window.pwned=1"></form>',
  '"><script>window.pwned=1</script>',
  '</pre></details></article></main><script>window.pwned=1</script>',
  '\u202e reversed \u2066 \u200b \x00 \x1b[31m \ud800',
)
ATTACK = '\n\n'.join(ATTACKS)


@pytest.fixture(scope='module')
def report(run_folder):
  return page.build(run_folder)


@pytest.fixture(scope='module')
def hostile(make, tmp_path_factory):
  """A run whose every string was chosen by an attacker."""
  folder = tmp_path_factory.mktemp('hostile') / 'run'
  make.run(folder, steps=4)
  (folder / 'config.json').write_text(json.dumps({'seed': ATTACK, 'a': {ATTACK[:60]: ATTACK}}))
  line = {'step': 4, f'tools/{ATTACKS[1]}/calls': 3, f'tools/{ATTACKS[10]}/success_rate': 0.5}
  with open(folder / 'metrics.jsonl', 'a') as file:
    file.write(json.dumps(line) + '\n')
  credit = Attribution(ATTACK, ATTACK, ATTACK, 'javascript:window.pwned=1')
  verdict = Verdict('llm', 'scored', (Score('text', 4, note=ATTACK),), justification=ATTACK, model=ATTACK)
  task = make.task(ATTACKS[0], rule=ImageRule('free'), question=ATTACK)
  rows = []
  for k in range(4):
    built = make.Answering().thought(ATTACK).text(ATTACK)
    built.picture('search', make.scene(k), ATTACK, {'query': ATTACK, 'code': ATTACK}, credit)
    built.text('x' * 5_000_000 if k == 1 else '# ' + ATTACK)
    built.lost('code', error=ATTACK, params={'code': ATTACK}).malformed(ATTACK, ATTACK)
    for i in range(200 if k == 2 else 0):
      built.picture('edit', make.scene(i % 5))
    rows.append(built.sample(task, 4, k, (1.0, 0.5, 1.0), None if k == 3 else 0.7, (verdict,)))
  rollouts.write(folder, 'train', 4, rows, make.weights)
  for step in (0, 4):
    built = make.Answering().text(ATTACK)
    rollouts.write(folder, 'eval', step, [built.sample(task, step)], make.weights)
  return page.build(folder)


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


def test_hostile_runs_stay_small(hostile):
  assert hostile.stat().st_size < page.MOST_BYTES


def test_a_single_document_opens_with_its_pictures(visit, make, tmp_path):
  sampled = make.Answering().text(ATTACK).picture('search', make.scene(1)).sample(make.task('a'), 0)
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
