"""What the training path must not import, and what scripts beside the package can."""

import ast
import importlib.util
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_training_never_imports_torch():
  script = """
import sys
import llmi_jax.main
from llmi_jax import wiring

wiring.load_policy('builtin:tiny')
print(sorted({'torch', 'diffusers', 'tensorflow', 'accelerate'} & set(sys.modules)))
"""
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'


SCRIPTS = sorted(path for room in ('benchmarks', 'experiments') for path in (ROOT / room).rglob('*.py'))


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_import_what_there_is(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] in ('llmi_jax', 'configs'):
      module = importlib.import_module(node.module)
      for name in (alias.name for alias in node.names):
        assert hasattr(module, name) or importlib.util.find_spec(f'{node.module}.{name}'), (path, name)
