"""`BUILD` says what every room really imports.

python tests/test_build.py     # writes BUILD anew from the imports
"""

import ast
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'llmi_jax'
# Import name → distribution, where they differ.
DISTRIBUTIONS = {
  'PIL': 'pillow',
  'absl': 'absl_py',
  'markdown_it': 'markdown_it_py',
  'orbax': 'orbax_checkpoint',
  'skimage': 'scikit_image',
  'sklearn': 'scikit_learn',
  'yaml': 'pyyaml',
}
HEADER = '''"""One target per room and entry point; tests/test_build.py keeps them equal to the imports."""

load("@rules_python//python:defs.bzl", "py_binary", "py_library")

package(default_visibility = ["//visibility:public"])

licenses(["notice"])

exports_files(["LICENSE"])
'''
TARGET = """
{rule}(
    name = "{name}",
    srcs = {srcs},{data}
    deps = [{deps}],
)
"""


def rooms() -> dict[str, list[pathlib.Path]]:
  """Room → its files; `llmi_jax/__init__.py` belongs to `core`."""
  found: dict[str, list[pathlib.Path]] = {}
  for path in sorted(PACKAGE.rglob('*.py')):
    inside = path.relative_to(PACKAGE).parts
    name = 'core' if inside == ('__init__.py',) else inside[0].removesuffix('.py')
    found.setdefault(name, []).append(path)
  return found


def is_entry(path: pathlib.Path) -> bool:
  return "__name__ == '__main__'" in path.read_text() and path.parent == PACKAGE


def dependencies(paths: list[pathlib.Path], own: str) -> list[str]:
  """Labels of what the files import, in Bazel's order."""
  labels = set()
  for path in paths:
    for node in ast.walk(ast.parse(path.read_text())):
      modules = []
      if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        modules = [f'{node.module}.{alias.name}' for alias in node.names]
      labels |= {label for module in modules if (label := _label(module, own))}
  return sorted(labels, key=lambda label: (label.startswith('@'), label))


def _label(module: str, own: str) -> str | None:
  top, *rest = module.split('.')
  if top == 'llmi_jax':
    return None if not rest or rest[0] == own else f':{rest[0]}'
  if top in sys.stdlib_module_names:
    return None
  return f'@pypi//{DISTRIBUTIONS.get(top, top)}'


def expected() -> str:
  """The whole text of BUILD."""
  text = HEADER
  for name, paths in rooms().items():
    folder = (PACKAGE / name).is_dir()
    files = [f'llmi_jax/{name}/**/*.py'] if folder else [f'llmi_jax/{name}.py']
    files += ['llmi_jax/__init__.py'] if name == 'core' else []
    listed = ', '.join(f'"{file}"' for file in files)
    data = sorted({f'llmi_jax/{name}/**/*{p.suffix}' for p in (PACKAGE / name).rglob('*') if _is_data(p)})
    deps = ''.join(f'\n        "{label}",' for label in dependencies(paths, name))
    text += TARGET.format(
      rule='py_binary' if not folder and is_entry(paths[0]) else 'py_library',
      name=name,
      srcs=f'glob([{listed}])' if folder else f'[{listed}]',
      data='\n    data = glob([' + ', '.join(f'"{d}"' for d in data) + ']),' if data else '',
      deps=f'{deps}\n    ' if deps else '',
    )
  return text


def _is_data(path: pathlib.Path) -> bool:
  return path.is_file() and path.suffix not in ('.py', '.pyc')


def test_build_equals_the_imports():
  assert (ROOT / 'BUILD').read_text() == expected(), 'Run: python tests/test_build.py'


def test_build_is_loadable():
  """Starlark's subset of Python: only calls of known rules, with literals and globs."""
  for statement in ast.parse((ROOT / 'BUILD').read_text()).body[1:]:
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    assert isinstance(statement.value.func, ast.Name)
    assert statement.value.func.id in (
      'load',
      'package',
      'licenses',
      'exports_files',
      'py_binary',
      'py_library',
    )


def test_a_dependency_that_is_not_imported_would_be_found():
  assert expected().replace(':core",', ':core",\n        ":attic",', 1) != expected()


if __name__ == '__main__':
  (ROOT / 'BUILD').write_text(expected())
