"""Cuts a step's rows into micro-batches of like length, so that little of what is computed is padding."""

import dataclasses

import numpy as np

from llmi_jax.core.errors import ConfigError
from llmi_jax.rl.aggregate import token_weights
from llmi_jax.rl.loss import Surrogate
from llmi_jax.update import Rows


@dataclasses.dataclass(frozen=True)
class MicroBatches:
  """How rows are cut.

  Attributes:
    prompts: per micro-batch; must divide a step's prompts.
    widths: response lengths that a micro-batch may have, ascending; the last holds the longest response.
  """

  prompts: int
  widths: tuple[int, ...]


def cut(rows: Rows, pieces: MicroBatches, surrogate: Surrogate) -> list[tuple[Rows, np.ndarray]]:
  """Micro-batches of whole groups, groups with short responses first, each with its tokens' weights.

  The weights are taken over all rows before they are cut, so the pieces' gradients add up to the whole's.

  Args:
    rows: a step's rows.
    pieces: static choices.
    surrogate: its aggregation.

  Returns:
    Rows and [rows, width] weights of each micro-batch.

  Raises:
    ConfigError: the prompts of a step are no multiple of a micro-batch's.
  """
  weights = np.asarray(token_weights(rows.mask, surrogate.aggregation, constant=surrogate.constant))
  groups, made = len(rows.prompt), []
  if groups % pieces.prompts:
    raise ConfigError(
      f'{groups} prompts per step cannot be cut into micro-batches of {pieces.prompts}; '
      f'use a divisor of {groups}.'
    )
  samples = len(rows.length) // groups
  longest = rows.length.reshape(groups, samples).max(-1)
  order = np.argsort(longest, kind='stable').reshape(-1, pieces.prompts)
  for chosen in order:
    width = next(w for w in pieces.widths if longest[chosen].max() <= w)
    members = (chosen[:, None] * samples + np.arange(samples)).reshape(-1)
    piece = Rows(
      prompt=rows.prompt[chosen],
      prompt_len=rows.prompt_len[chosen],
      tokens=rows.tokens[members, :width],
      length=rows.length[members],
      mask=rows.mask[members, :width],
      logp_sampled=rows.logp_sampled[members, :width],
      advantage=rows.advantage[members],
    )
    made.append((piece, weights[members, :width]))
  return made
