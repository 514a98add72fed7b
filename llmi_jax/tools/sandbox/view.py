"""What of this machine's files the sandbox shows: the interpreter, its libraries, fonts; nothing else."""

import dataclasses
import importlib.util
import pathlib
import sys
import sysconfig
from collections.abc import Iterable

import llmi_jax
from llmi_jax.core.errors import SandboxError
from llmi_jax.tools.sandbox.guest import confine

GUEST = '/guest'
DRAWS_WITH = ('numpy', 'pandas', 'matplotlib', 'scipy', 'seaborn', 'PIL', 'dateutil')
_LIBRARIES = ('/lib', '/lib32', '/lib64', '/usr/lib', '/usr/lib32', '/usr/lib64', '/usr/local/lib')
_SHARED = ('/usr/share/fonts', '/usr/local/share/fonts', '/usr/share/zoneinfo', '/etc/ld.so.cache')


@dataclasses.dataclass(frozen=True)
class View:
  """Read-only binds and how to start Python among them.

  Attributes:
    binds: (path on this machine, path inside).
    links: (target, path inside) for links that this machine has at its top level.
    python: the interpreter's path on this machine.
    libraries: folders of `sys.path` on this machine.
    package: the folder on this machine that holds the package.
  """

  binds: tuple[tuple[str, str], ...]
  links: tuple[tuple[str, str], ...]
  python: str
  libraries: tuple[str, ...]
  package: str

  @property
  def paths(self) -> tuple[str, ...]:
    """`sys.path` inside."""
    return (GUEST, *map(inside, self.libraries))

  def command(self, module: str, *arguments: str) -> list[str]:
    """The command line that, inside, runs `main` of a guest module."""
    return _command(inside(self.python), self.paths, module, *arguments)

  def outside(self, module: str, *arguments: str) -> list[str]:
    """The command line that does so on this machine."""
    return _command(self.python, (self.package, *self.libraries), module, *arguments)


def inside(path: str) -> str:
  """Where a path of this machine is shown: where it is, unless jobs write there."""
  taken = any(pathlib.Path(path).is_relative_to(folder) for folder in (confine.HOME, confine.CONFIG, GUEST))
  return f'{GUEST}/machine{path}' if taken else path


def _command(python: str, paths: Iterable[str], module: str, *arguments: str) -> list[str]:
  load = f'from llmi_jax.tools.sandbox.guest.{module} import main'
  start = f'import sys; sys.path[:] = {list(paths)!r}; {load}; main()'
  # No environment variable, user folder, working folder or site hook has a say in what is imported.
  return [python, '-s', '-S', '-P', '-B', '-c', start, *arguments]


def view() -> View:
  """The view for the running interpreter.

  Raises:
    SandboxError: a library to draw with is not installed.
  """
  python = pathlib.Path(sys.executable).resolve()
  library = sysconfig.get_path('stdlib')
  standard = [library, f'{library}/lib-dynload']
  shared = [f'{sys.base_prefix}/lib', f'{sys.base_prefix}/lib64']
  packages = [_home(name) for name in DRAWS_WITH]
  folders = _outermost([*standard, *packages, *shared, str(python), *_SHARED])
  libraries = [path for path in _LIBRARIES if pathlib.Path(path).is_dir()]
  links = tuple((str(pathlib.Path(p).readlink()), p) for p in libraries if pathlib.Path(p).is_symlink())
  real = [path for path in libraries if not pathlib.Path(path).is_symlink()]
  package = pathlib.Path(llmi_jax.__file__).parent
  # The package's own inside: the guest folder and what makes its parents importable.
  own = ('__init__.py', 'tools/__init__.py', 'tools/sandbox/__init__.py', 'tools/sandbox/guest')
  guest = [(str(package / name), f'{GUEST}/llmi_jax/{name}') for name in own]
  return View(
    binds=(*((path, inside(path)) for path in [*real, *folders]), *guest),
    links=links,
    python=str(python),
    libraries=tuple(_existing([*standard, *packages])),
    package=str(package.parent),
  )


def _home(name: str) -> str:
  """The folder that an installed library lies in."""
  found = importlib.util.find_spec(name)
  if found is None or found.origin is None:
    raise SandboxError(f'{name} is not installed')
  return str(pathlib.Path(found.origin).parents[1])


def _existing(paths: Iterable[str]) -> list[str]:
  """Those that exist, each once."""
  return list(dict.fromkeys(p for p in paths if pathlib.Path(p).exists()))


def _outermost(paths: Iterable[str]) -> list[str]:
  """Those that exist and are in no other one."""
  found = _existing(paths)
  return [p for p in found if not any(p != q and pathlib.Path(p).is_relative_to(q) for q in found)]
