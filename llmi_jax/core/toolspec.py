"""What a tool promises to a prompt and a parser: its name, its paragraph, its parameters."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One key of a tool's `params`.

  Attributes:
    name: the key.
    type: `string` (must not be blank), `integer` (≥ 0) or `image` (an integer ≥ 0 that names an image
      position before the call's own; see `text/grammar`).
    description: half a sentence for the system prompt.
  """

  name: str
  type: Literal['string', 'integer', 'image']
  description: str


@dataclasses.dataclass(frozen=True)
class ToolSpec:
  """A tool as the policy is told about it.

  Attributes:
    name: the tag's `source`.
    description: one paragraph for the system prompt.
    parameters: every one of them is required; no others are accepted.
    example: a filled-in `params` for the system prompt, keys as in `parameters`.
  """

  name: str
  description: str
  parameters: tuple[Parameter, ...]
  example: tuple[tuple[str, str | int], ...] = ()
