"""Import direction: every room sits on a floor and imports only from lower ones."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1] / 'llmi_jax'

# This table is the architecture. Two rooms on one floor never see each other.
FLOORS = {
  'core': 0,
  **dict.fromkeys(('compilation', 'config', 'offload', 'services'), 1),
  **dict.fromkeys(('models', 'rl', 'sampling', 'painter'), 2),  # device side: pure, jitted
  **dict.fromkeys(('text', 'tools', 'judges', 'rewards', 'data'), 2),  # host side
  **dict.fromkeys(('update', 'weights', 'checkpoint', 'metrics', 'sinks'), 3),
  **dict.fromkeys(('rollout', 'programs', 'report', 'terminal'), 4),
  **dict.fromkeys(('eval', 'tts', 'painting', 'planning', 'run'), 5),
  **dict.fromkeys(('trainer', 'warm_start', 'judging', 'toolbox'), 6),
  **dict.fromkeys(('front', 'pods', 'rebuild', 'rewarding', 'wiring'), 7),  # what entry points share
  **dict.fromkeys(
    ('audience', 'claim', 'course', 'forms', 'speaking', 'sweeping', 'updating'), 8
  ),  # over these
  **dict.fromkeys(('answering', 'benches', 'budget', 'crews', 'planned'), 9),  # likewise, for answers
  **dict.fromkeys(('closing', 'measuring', 'scaling'), 10),  # likewise, over these
  **dict.fromkeys(('main', 'generate', 'evaluate', 'rescore', 'export', 'plan', 'serve', 'view'), 11),
}
PURE = ('models', 'rl', 'sampling', 'painter')
HOST = ('core', 'services', 'text', 'tools', 'judges', 'rewards', 'data')
HOST_ONLY = {'asyncio', 'httpx', 'httpx2', 'requests', 'PIL', 'transformers', 'concurrent', 'threading', 'os'}
DEVICE_ONLY = {'jax', 'flax', 'optax'}


def _imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: write imports in full (from llmi_jax...).'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def _modules():
  return [p for p in sorted(ROOT.rglob('*.py')) if p.relative_to(ROOT).name != '__init__.py']


def faults(name: str, imported: list[str]) -> list[str]:
  """What is wrong with a module's imports."""
  here = name.removesuffix('.py').split('/')[0]
  found = [] if here in FLOORS else [f'{name}: give {here!r} a floor.']
  for module in imported:
    top, *rest = module.split('.')
    inside = top == 'llmi_jax' and rest and rest[0] != here and here in FLOORS
    if inside and FLOORS.get(rest[0], 99) >= FLOORS[here]:
      found.append(f'{name} (floor {FLOORS[here]}) imports {module}.')
    if here in PURE and top in HOST_ONLY:
      found.append(f'{name} is pure; it imports {module}.')
    if here in HOST and top in DEVICE_ONLY:
      found.append(f'{name} must stay free of jax; it imports {module}.')
  return found


@pytest.mark.parametrize('path', _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
  assert not faults(str(path.relative_to(ROOT)), list(_imports(path)))


@pytest.mark.parametrize(
  ('name', 'imported'),
  [
    ('rl/loss.py', 'llmi_jax.models.decoder.forward'),
    ('core/task.py', 'llmi_jax.services.images.decode'),
    ('models/rope.py', 'asyncio'),
    ('judges/offline.py', 'jax.numpy'),
    ('attic/old.py', 'json'),
  ],
)
def test_planted_faults_are_found(name, imported):
  assert faults(name, [imported])
