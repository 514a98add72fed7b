"""The notebook's cells run in order, as they stand."""

import ast
import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_first_steps_run(tmp_path, monkeypatch, capsys):
  cells = json.loads((ROOT / 'docs' / 'first_steps.ipynb').read_text())['cells']
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  monkeypatch.setattr(sys, 'path', [str(ROOT), *sys.path])
  names, shown = {}, []
  for cell in cells:
    if cell['cell_type'] != 'code':
      continue
    lines = ast.parse(''.join(cell['source'])).body
    if isinstance(lines[-1], ast.Expr):  # what a notebook shows below the cell
      lines[-1] = ast.copy_location(ast.Assign([ast.Name('_', ast.Store())], lines[-1].value), lines[-1])
    code = compile(ast.fix_missing_locations(ast.Module(lines, [])), 'cell', 'exec')
    exec(code, names)  # noqa: S102  (our own page's)
    shown.append(names.get('_'))
  printed = capsys.readouterr().out
  assert 'Reward ' in printed and 'is the stored' in printed and 'rank correlation' in printed
  page = next(one for one in shown if hasattr(one, 'rollout'))._repr_html_()
  assert page.startswith('<iframe sandbox') and 'allow-scripts' not in page
  assert any(getattr(one, 'columns', None) is not None for one in shown)
