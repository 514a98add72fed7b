"""What of this machine's files the sandbox shows: the interpreter, its libraries, fonts; nothing else."""

import dataclasses
import pathlib
import site
import sys
import sysconfig
from collections.abc import Iterable

import llmi_jax

GUEST = '/guest'
_LIBRARIES = ('/lib', '/lib32', '/lib64', '/usr/lib', '/usr/lib32', '/usr/lib64', '/usr/local/lib')
_SHARED = ('/usr/share/fonts', '/usr/local/share/fonts', '/usr/share/zoneinfo', '/etc/ld.so.cache')


@dataclasses.dataclass(frozen=True)
class View:
  """Read-only binds and how to start Python among them.

  Attributes:
    binds: (path on this machine, path inside).
    links: (target, path inside) for links that this machine has at its top level.
    python: the interpreter's path inside.
    paths: `sys.path` inside.
    package: the folder on this machine that holds the package.
  """

  binds: tuple[tuple[str, str], ...]
  links: tuple[tuple[str, str], ...]
  python: str
  paths: tuple[str, ...]
  package: str

  def command(self, module: str, *arguments: str) -> list[str]:
    """The command line that runs `main` of a guest module."""
    load = f'from llmi_jax.tools.sandbox.guest.{module} import main'
    start = f'import sys; sys.path[:] = {list(self.paths)!r}; {load}; main()'
    # No environment variable, user folder, working folder or site hook has a say in what is imported.
    return [self.python, '-s', '-S', '-P', '-B', '-c', start, *arguments]


def view() -> View:
  """The view for the running interpreter."""
  python = pathlib.Path(sys.executable).resolve()
  paths = sysconfig.get_paths()
  standard = [paths['stdlib'], sysconfig.get_config_var('DESTSHARED')]
  shared = [f'{sys.base_prefix}/lib', f'{sys.base_prefix}/lib64']
  packages = [paths['purelib'], paths['platlib'], *site.getsitepackages()]
  folders = _outermost([*standard, *packages, *shared, str(python), *_SHARED])
  libraries = [path for path in _LIBRARIES if pathlib.Path(path).is_dir()]
  links = tuple((str(pathlib.Path(p).readlink()), p) for p in libraries if pathlib.Path(p).is_symlink())
  real = [path for path in libraries if not pathlib.Path(path).is_symlink()]
  package = pathlib.Path(llmi_jax.__file__).parent
  # The package's own inside: the guest folder and what makes its parents importable.
  own = ('__init__.py', 'tools/__init__.py', 'tools/sandbox/__init__.py', 'tools/sandbox/guest')
  guest = [(str(package / name), f'{GUEST}/llmi_jax/{name}') for name in own]
  return View(
    binds=(*((path, path) for path in [*real, *folders]), *guest),
    links=links,
    python=str(python),
    paths=(GUEST, *_existing([*standard, *packages])),
    package=str(package.parent),
  )


def _existing(paths: Iterable[str | None]) -> list[str]:
  """Those that exist, each once."""
  return list(dict.fromkeys(p for p in paths if p and pathlib.Path(p).exists()))


def _outermost(paths: Iterable[str | None]) -> list[str]:
  """Those that exist and are in no other one."""
  found = _existing(paths)
  return [p for p in found if not any(p != q and pathlib.Path(p).is_relative_to(q) for q in found)]
