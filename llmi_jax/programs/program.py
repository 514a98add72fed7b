"""A device program as a record: what is compiled, for which shapes, where they lie and what is given away."""

import dataclasses
from collections.abc import Callable
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
  """

  name: str
  function: Callable[..., Any]
  arguments: tuple[Any, ...]
  donated: tuple[int, ...] = ()
  times: int = 1

  def lower(self) -> Any:
    """Traced and lowered for its shapes; needs no weights."""
    return self.function.lower(*self.arguments)  # pyright: ignore[reportFunctionMemberAccess]
