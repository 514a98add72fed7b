"""The arrays that a training step reads."""

from typing import NamedTuple

import numpy as np

from llmi_jax.core.prompt import Prompt


class Batch(NamedTuple):
  """Rows in request order, never in arrival order; samples of one prompt are neighbours.

  Attributes:
    tokens: [B, T] int32, prompt then response, right-padded.
    prompt_len: [B] int32.
    length: [B] int32, prompt and response together.
    mask: [B, T] float32, 1 on sampled tokens of scorable rows.
    logp_sampled: [B, T] float32, under the sampling distribution, aligned with `tokens`.
    logp_full: [B, T] float32, at temperature 1 over the full vocabulary.
    advantage: [B] float32, 0 where unscorable.
    row: [B] int32, the row's index in the step's requests.
    prompts: [B] as they were rendered, pictures included.
  """

  tokens: np.ndarray
  prompt_len: np.ndarray
  length: np.ndarray
  mask: np.ndarray
  logp_sampled: np.ndarray
  logp_full: np.ndarray
  advantage: np.ndarray
  row: np.ndarray
  prompts: tuple[Prompt, ...] = ()
