"""Device programs by name: whoever listens hears of each compilation as it begins, and of what it took.

`jit(name, function, …)` is `jax.jit` for a program that a run should be able to tell of; without a listener
it costs an attribute look-up. The events are those of `jax.monitoring`, which come from the thread that
compiles: tracing, lowering and compiling each announce their beginning and their end.
"""

import contextlib
import inspect
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
from jax import monitoring

Shapes = Mapping[str, str]
_TRACE = '/jax/core/compile/jaxpr_trace_duration'
_LOWER = '/jax/core/compile/jaxpr_to_mlir_module_duration'
_COMPILE = '/jax/core/compile/backend_compile_duration'
_PHASES = (_TRACE, _LOWER, _COMPILE)
_HIT = '/jax/compilation_cache/cache_hits'


class Listener(Protocol):
  """Is told of every compilation, on the thread that compiles."""

  def begins(self, name: str, shapes: Shapes, sized: bool) -> None:
    """Tracing begins; `shapes` says what each argument is, and is empty for programs without a name here.

    `sized` says that the program comes in several sizes by design.
    """

  def compiled(self, name: str, seconds: float, cached: bool) -> None:
    """It is compiled, or was read from the cache."""

  def ran(self, name: str, seconds: float | None) -> None:
    """Its first execution took so long; None where there was none to time, or it failed."""


class Compiled:
  """A jitted function with a name; called and lowered as that is."""

  def __init__(self, name: str, function: Callable[..., Any], sized: bool, options: Mapping[str, Any]):
    self.name, self._sized = name, sized
    self._jitted = jax.jit(function, **options)
    self._names = tuple(inspect.signature(function).parameters)

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    ear = _ear
    if ear is None or ear.depth:  # nobody listens, or this is part of a larger program
      return self._jitted(*args, **kwargs)
    call = ear.enter(self.name, lambda: describe(self._names, args, kwargs), self._sized)
    try:
      made = self._jitted(*args, **kwargs)
      if call.compiled is not None:
        jax.block_until_ready(made)
        call.ran = time.monotonic() - call.compiled
      return made
    finally:
      ear.leave(call)

  def trace(self, *args: Any, **kwargs: Any) -> Any:
    """As `jax.jit` does it."""
    return self._jitted.trace(*args, **kwargs)

  def lower(self, *args: Any, **kwargs: Any) -> Any:
    """As `jax.jit` does it."""
    return self._jitted.lower(*args, **kwargs)


def jit(name: str, function: Callable[..., Any], *, sized: bool = False, **options: Any) -> Compiled:
  """`jax.jit(function, **options)` under a name; `sized` where it is compiled for several sizes by design."""
  return Compiled(name, function, sized, options)


def keep(folder: pathlib.Path) -> None:
  """From now on compiled programs are kept for later processes: in this folder, unless JAX was told of
  another (`JAX_COMPILATION_CACHE_DIR`).
  """
  if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def describe(names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, str]:
  """Every leaf of a call's arguments: its path → its type and shape, or its value where it is no array."""
  named = {names[i] if i < len(names) else str(i): arg for i, arg in enumerate(args)} | dict(kwargs)
  leaves = jax.tree_util.tree_flatten_with_path(named)[0]
  return {jax.tree_util.keystr(path, simple=True, separator='.'): _leaf(leaf) for path, leaf in leaves}


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
  """Tells a listener of what is compiled meanwhile; one at a time."""
  global _ear
  assert _ear is None, 'One listener at a time.'
  ear = _ear = _Ear(listener)
  monitoring.register_scalar_listener(ear.starts)
  monitoring.register_event_duration_secs_listener(ear.ends)
  monitoring.register_event_listener(ear.happens)
  try:
    yield
  finally:
    _ear = None
    monitoring.unregister_scalar_listener(ear.starts)
    monitoring.unregister_event_duration_listener(ear.ends)
    monitoring.unregister_event_listener(ear.happens)


class _Call:
  """A program that is being called, or, without shapes, one that has no name here."""

  def __init__(self, name: str, shapes: Callable[[], Shapes], sized: bool = False):
    self.name, self.shapes, self.sized = name, shapes, sized
    self.begun: float | None = None
    self.compiled: float | None = None
    self.ran: float | None = None
    self.cached = False


class _Ear(threading.local):
  """What the threads are about; `depth` counts phases inside each other, as programs inside programs make."""

  def __init__(self, listener: Listener):
    self._listener = listener
    self.depth = 0
    self._call: _Call | None = None
    self._named = False

  def enter(self, name: str, shapes: Callable[[], Shapes], sized: bool) -> _Call:
    self._call, self._named = _Call(name, shapes, sized), True
    return self._call

  def leave(self, call: _Call) -> None:
    self._call, self._named = None, False
    if call.begun is not None:
      self._listener.ran(call.name, call.ran)

  def starts(self, event: str, value: float | int, **about: Any) -> None:
    if event not in _PHASES:
      return
    self.depth += 1
    if self.depth > 1:
      return
    if not self._named and event == _COMPILE:
      name = str(about.get('fun_name', '')).removeprefix('jit(').removesuffix(')')
      self._call = _Call(name, dict)
    call = self._call
    if call is not None and call.begun is None:
      call.begun = time.monotonic()
      self._listener.begins(call.name, call.shapes(), call.sized)

  def happens(self, event: str, **about: Any) -> None:
    del about
    if event == _HIT and self._call is not None and self.depth == 1:
      self._call.cached = True

  def ends(self, event: str, duration_secs: float, **about: Any) -> None:
    del duration_secs, about
    if event not in _PHASES:
      return
    self.depth = max(0, self.depth - 1)
    call = self._call
    if self.depth or event != _COMPILE or call is None or call.begun is None:
      return
    call.compiled = time.monotonic()
    self._listener.compiled(call.name, call.compiled - call.begun, call.cached)
    if not self._named:
      self._call = None
      self._listener.ran(call.name, None)


_ear: _Ear | None = None


def _leaf(leaf: Any) -> str:
  if hasattr(leaf, 'shape') and hasattr(leaf, 'dtype'):
    return f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'
  return repr(leaf)[:40]
