"""A device program as a record: what is compiled, for which shapes, where they lie and what is given away."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
  """One compiled program.

  Attributes:
    name: says what it does, and for which sizes.
    function: jitted; its donated arguments are named below.
    arguments: trees of `jax.ShapeDtypeStruct`, with shardings where there is a mesh.
    donated: positions of arguments whose memory the results take over.
    times: how often a step runs it, as far as that is known beforehand.
    options: static arguments by name.
  """

  name: str
  function: Callable[..., Any]
  arguments: tuple[Any, ...]
  donated: tuple[int, ...] = ()
  times: int = 1
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def trace(self) -> Any:
    """Traced for its shapes: has the `jaxpr`, and can be lowered."""
    function: Any = self.function
    return function.trace(*self.arguments, **self.options)

  def lower(self) -> Any:
    """Traced and lowered for its shapes; needs no weights."""
    return self.trace().lower()
