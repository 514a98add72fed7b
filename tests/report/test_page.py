"""The report of a run at any stage, and which documents it picks."""

import json
import re

import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.data import rollouts
from llmi_jax.report import calls, gallery, page


def write(make, folder, kind, step, rewards, task='t', gaps=()):
  rows = []
  for k, value in enumerate(rewards):
    built = make.Answering().text('x')
    if k in gaps:
      built.lost('code')
    rows.append(built.sample(make.task(f'{task}/{k}'), step, 0, (1.0, 0.5, 0.5), value))
  rollouts.write(folder, kind, step, rows, make.weights)


def test_a_finished_run_shows_its_gain(run_folder):
  html = page.build(run_folder).read_text()
  assert '0.327' in html and '0.784' in html and '+0.457' in html
  assert '<dt>samples per prompt</dt><dd><bdi>8</bdi></dd>' in html and 'builtin:tiny' in html
  assert '2.73 M' in html and '6m31s' in html
  assert 'On 100 held-out tasks, 4 samples each, the same before and after' in html
  assert '2 samples of the last evaluation could not be scored' in html


def test_the_same_files_give_the_same_report(run_folder):
  assert page.build(run_folder).read_bytes() == page.build(run_folder).read_bytes()


def test_an_unfinished_run_has_a_report(make, tmp_path):
  make.run(tmp_path, steps=8, finished=False)
  html = page.build(tmp_path).read_text()
  assert 'This run has not finished: the report shows its first 8 steps.' in html
  assert 'id="evaluation"' not in html and 'id="training"' in html


def test_an_empty_folder_has_a_report(tmp_path):
  assert 'its first 0 steps' in page.build(tmp_path).read_text()


def test_an_evaluation_before_training_is_shown_alone(make, tmp_path):
  (tmp_path / 'summary.json').write_text(json.dumps({'eval_before': {'reward': 0.25, 'n_tasks': 4}}))
  html = page.build(tmp_path).read_text()
  assert '0.250' in html and 'On 4 held-out tasks, once.' in html


@pytest.mark.parametrize('name', ['config.json', 'summary.json'])
def test_broken_files_are_named(tmp_path, name):
  (tmp_path / name).write_text('{')
  with pytest.raises(DataError, match=name):
    page.build(tmp_path)
  assert not (tmp_path / 'report.html').exists()


def test_a_page_that_grows_too_large_shows_pictures_from_beside_and_says_so(make, tmp_path, monkeypatch):
  make.run(tmp_path, steps=8)
  told = []
  size = page.build(tmp_path, told.append).stat().st_size
  assert not told and 'images/' not in _sources(tmp_path)
  monkeypatch.setattr(page, 'MOST_BYTES', size - 8_000)
  monkeypatch.setattr(page, '_SPARE', 3_000)
  html = page.build(tmp_path, told.append).read_text()
  assert len(html.encode()) <= page.MOST_BYTES
  (words,) = told
  assert f'would have {size / (1 << 20):.1f} MiB' in words and words.removeprefix('Warning: ') in html
  beside = _sources(tmp_path)
  assert beside and all((tmp_path / source).is_file() for source in beside)


def _sources(folder):
  """Where pictures that are not in the file come from."""
  return re.findall(r'<img src="(images/[^"]+)"', (folder / 'report.html').read_text())


def test_tools_and_failures_are_counted(make, tmp_path):
  make.run(tmp_path, steps=40)
  found = calls.of_run(tmp_path)
  told = {tool.name: tool for tool in found.tools}
  rows = list(rollouts.read(tmp_path / 'rollouts/train'))
  results = [p.result for r in rows for p in r.answer if p.result]
  assert sum(tool.calls for tool in found.tools) == len(results)
  assert told['code'].policy == sum(r.tool == 'code' and r.status == 'failed' for r in results)
  assert told['diffusion'].environment == sum(r.fault == 'environment' for r in results)
  assert {f.where for f in found.failures} == {'code, policy', 'diffusion, environment'}
  assert found.failures[0].what == 'failed: NameError: name pd is not defined'
  html = page.build(tmp_path).read_text()
  assert 'id="tools"' in html and 'NameError: name pd' in html


def test_pairs_run_from_the_greatest_gain_to_the_greatest_loss(make, tmp_path):
  write(make, tmp_path, 'eval', 0, [0.5] * 9)
  write(make, tmp_path, 'eval', 30, [0.1, 0.9, 0.5, 0.6, 0.2, 0.7, None, 0.4, 0.3])
  pairs = gallery.choose(tmp_path).pairs
  gains = [p.after.reward - p.before.reward for p in pairs]
  assert len(pairs) == gallery.PAIRS and gains == sorted(gains, reverse=True)
  assert gains[0] == pytest.approx(0.4) and gains[-1] == pytest.approx(-0.4)
  assert all(p.before.task == p.after.task and p.before.step == 0 and p.after.step == 30 for p in pairs)


def test_one_evaluation_makes_no_pairs(make, tmp_path):
  write(make, tmp_path, 'eval', 0, [0.5])
  assert gallery.choose(tmp_path).pairs == ()


def test_best_worst_and_failed_are_what_they_are_called(make, tmp_path):
  write(make, tmp_path, 'train', 1, [0.0, 0.95], 'early')
  write(make, tmp_path, 'train', 99, [0.9, 0.1, None, 0.3, 0.8, 0.7, 0.6, 0.2, 0.4, 0.5], 'late', gaps=(6,))
  chosen = gallery.choose(tmp_path)
  assert [r.reward for r in chosen.best] == [0.95, 0.9, 0.8, 0.7]
  assert [r.reward for r in chosen.worst] == [0.1, 0.2, 0.3, 0.4]  # not the early 0.0
  assert [r.reward for r in chosen.failed] == [None, 0.6]
  shown = [r.id for r in chosen.best + chosen.worst + chosen.failed]
  assert len(set(shown)) == len(shown)


def test_every_tool_is_among_the_best(make, tmp_path):
  rows = []
  for k, tool in enumerate(('search',) * 6 + ('code', 'edit', 'diffusion')):
    built = make.Answering().text('x').picture(tool, make.scene(k))
    rows.append(built.sample(make.task(f't/{k}'), 1, 0, (1.0, 0.5, 0.5), 1 - k / 10))
  rollouts.write(tmp_path, 'train', 1, rows, make.weights)
  chosen = gallery.choose(tmp_path)
  assert [r.reward for r in chosen.best] == pytest.approx([1.0, 0.4, 0.3, 0.2])


def test_a_shown_sample_knows_its_group(make, tmp_path):
  task = make.task('t')
  rows = [make.Answering().text('x').sample(task, 3, k, reward=k / 4, advantage=k - 1.5) for k in range(4)]
  rollouts.write(tmp_path, 'train', 3, rows, make.weights)
  chosen = gallery.choose(tmp_path)
  assert [s.reward for s in chosen.siblings[chosen.best[0].id]] == [0, 0.25, 0.5, 0.75]


def test_configs_are_flattened():
  rows = page.flatten({'a': {'b': 1, 'c': {'d': [1, 2]}}, 'e': 'x', 'f': None, 'g': {}})
  assert rows == [('a.b', '1'), ('a.c.d', '[1, 2]'), ('e', 'x'), ('f', 'null'), ('g', '{}')]
