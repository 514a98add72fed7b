"""A step's rows as the learner reads them: each prompt once, its responses behind it."""

from typing import Any, NamedTuple

Values = Any  # an array: NumPy on the host, JAX's within a program


class Seen(NamedTuple):
  """Pictures in the prompts of rows.

  Attributes:
    positions: [P, 3, Tp] int32 (time, row, column) of the prompts' tokens.
    delta: [P] int32, a response's token at index i of the whole row has position i + delta on all axes.
    rows: [P, Tp] int32: at an image token, its row of the features; -1 elsewhere.
    pictures: per bucket, what the vision tower reads (`models.vision_layout.Pictures`); features of the
      first bucket's pictures come first.
  """

  positions: Values
  delta: Values
  rows: Values
  pictures: tuple[Any, ...]


class Rows(NamedTuple):
  """Rows of a step, or of a micro-batch of it.

  Attributes:
    prompt: [P, Tp] int32.
    prompt_len: [P] int32.
    tokens: [P·R, Tr] int32, responses only.
    length: [P·R] int32.
    mask: [P·R, Tr] float32.
    logp_sampled: [P·R, Tr] float32, under the sampling distribution.
    advantage: [P·R] float32.
    seen: pictures, for a policy that sees; None where there are none.
  """

  prompt: Values
  prompt_len: Values
  tokens: Values
  length: Values
  mask: Values
  logp_sampled: Values
  advantage: Values
  seen: Seen | None = None


class Micro(NamedTuple):
  """A micro-batch.

  Attributes:
    rows: its rows.
    weights: [P·R, Tr] float32, each token's share of the loss of its update.
    update: which of the step's updates it belongs to.
  """

  rows: Rows
  weights: Values
  update: int = 0
