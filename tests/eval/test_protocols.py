"""Every protocol end to end over a real socket, and against a judge that gives every kind of bad reply."""

import csv
import html
import json
import re

import pytest

from llmi_jax.core.answer import Prose
from llmi_jax.eval import harness, page
from llmi_jax.eval.in_domain import InDomain
from llmi_jax.eval.record import Answered
from llmi_jax.services.retry import Retry
from tests.doubles.chat import Act
from tests.doubles.grader import BAD, Grader
from tests.eval.running import EXAMPLES, judged, made
from tests.eval.test_in_domain import answer, shown

PROTOCOLS = ('opening', 'arena', 'isg', 'llmi_bench', 'in_domain')
MODES = ('fixed', 'repo')


def case(name, mode):
  if name != 'in_domain':
    return made(name, mode)

  async def answers(record):
    return Answered((answer(record, Prose('A tabby cat sits.'), shown()),))

  return InDomain(EXAMPLES / 'in_domain' / 'test.parquet', mode=mode, model='double'), answers


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', PROTOCOLS)
def test_a_protocol_is_judged_written_and_shown(tmp_path, name, mode):
  benchmark, answers = case(name, mode)
  items, tables, outcome, requests = judged(benchmark, answers, tmp_path, Grader())
  assert not outcome.faults and outcome.records == len(items) == 7 + (name != 'isg' or mode == 'fixed')
  assert not any(value.kind == 'missing' for item in items for value in item.values)
  assert requests and all(said.read or said.spared for item in items for said in item.said)
  for table in tables:
    assert f'({mode})' in table.title and dict(table.facts)['records'] == str(len(items))
    assert all(
      f.low is None or f.value is None or f.low - 0.01 <= f.value <= f.high + 0.01 for f in table.figures
    )
  rows = list(csv.DictReader((tmp_path / harness.CSV).open()))
  assert len(rows) == sum(len(table.figures) for table in tables)
  assert (tmp_path / harness.MARKDOWN).read_text().startswith('## ')
  alone = sorted((tmp_path / 'items').glob('*.html'))
  assert len(alone) == (len(items) if benchmark.apart else 0) and benchmark.apart == (name == 'llmi_bench')
  for path, item in zip(alone, items):
    assert item.id in path.read_text()
  # The same command again: nobody is asked, and the table is the same.
  again = judged(benchmark, answers, tmp_path, Grader())
  assert again[3] == [] and again[0] == items and again[1] == tables


# One kind guards the path; the others wait for the slow run.
QUICK = ('code',)


@pytest.mark.parametrize('kind', [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in BAD])
def test_nothing_is_scored_that_was_not(tmp_path, kind):
  for name in PROTOCOLS:
    for mode in MODES:
      benchmark, answers = case(name, mode)
      items, _, _, requests = judged(benchmark, answers, tmp_path / name / mode, lambda b, n: BAD[kind])
      assert requests
      for item in items:
        asked = [said for said in item.said if not said.spared]
        graded = {value.name: value for value in item.values if value.kind == 'scored'}
        counted = {'structure', 'exact_rule', 'rule', 'right tools', *COUNTED}
        if name == 'arena' and mode == 'repo' and all(said.read for said in asked):
          # The reference's grammar makes a verdict of any words; those of a tossed coin are told apart.
          assert item['battle'].kind in ('scored', 'floored')
          continue
        if name == 'in_domain' and mode == 'repo':
          assert {v.kind for v in item.values if v.name in ('llm',)} == {'floored'}
          counted |= {'reward', 'mllm'}
        assert all(said.missing and not said.values for said in asked), (name, mode, asked)
        assert not {n: v for n, v in graded.items() if n not in counted and v.value is not None}, (name, mode)


COUNTED = ('valid_tag_rate', 'tool_success', 'tool_accuracy', 'r_tool', 'hygiene')


def test_a_share_of_bad_replies_leaves_the_rest_as_it_would_be(tmp_path):
  benchmark, answers = made('opening', 'fixed')
  whole, *_ = judged(benchmark, answers, tmp_path / 'whole', Grader())
  grader = Grader(0.4)
  items, tables, _, _ = judged(benchmark, answers, tmp_path / 'part', grader, Retry(2, 0.01))
  assert grader.bad
  lost = [item for item in items if item.values[0].kind == 'missing']
  assert 0 < len(lost) < len(items)
  for one, other in zip(items, whole):
    assert one in lost or one.values == other.values
  assert tables[0].at('all', 'Overall').missing == len(lost)
  assert dict(tables[0].facts)['of these without a reply that can be read'] == str(len(lost))


def test_pages_show_every_answer_and_nothing_of_it_runs(tmp_path, monkeypatch):
  monkeypatch.setattr(page, 'EACH', 3)
  benchmark, answers = made('opening', 'fixed')
  hostile = '<script>alert(1)</script> \u202e ![x](http://x.example/y.png)'

  def script(body, number):
    act = Grader()(body, number)
    return Act(text=f'{hostile}\n{act.text}')

  items, *_ = judged(benchmark, answers, tmp_path, script)
  pages = sorted(tmp_path.glob('items-*.html'))
  assert len(pages) == 3
  first = (tmp_path / page.NAME).read_text()
  assert all(f'href="{path.name}"' in first for path in pages)
  text = ''.join(path.read_text() for path in pages)
  assert all(item.id in text for item in items)
  assert text.count('src="data:image/webp') >= 8 and '<script>alert' not in text and '\u202e' not in text
  for one in (first, *(path.read_text() for path in pages)):
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', one)[1])
    assert policy.startswith("default-src 'none'") and 'http' not in policy


def test_few_items_stand_on_the_first_page(tmp_path):
  benchmark, answers = made('arena', 'fixed')
  judged(benchmark, answers, tmp_path, Grader())
  text = (tmp_path / page.NAME).read_text()
  assert not list(tmp_path.glob('items-*')) and text.count('class="rollout"') == 8
  assert text.count('A: <bdi>') == 8 and {'<bdi>Careful</bdi>', '<bdi>Hasty</bdi>'} <= set(
    re.findall('<bdi>[CH]\\w+</bdi>', text)
  )


def test_the_benchmarks_own_files_are_written(tmp_path):
  for name, file in (
    ('opening', 'gpt-score_results.json'),
    ('arena', 'judge_modelAB_results.json'),
    ('llmi_bench', 'json_results/evaluation_results.json'),
  ):
    benchmark, answers = made(name, 'fixed')
    judged(benchmark, answers, tmp_path / name, Grader())
    assert len(json.loads((tmp_path / name / file).read_text())) == 8
