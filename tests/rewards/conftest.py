import numpy as np
import pytest

from llmi_jax.core.answer import Answer, Picture
from llmi_jax.core.document import ToolCall
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.services import images


@pytest.fixture
def answer_with():
  """An answer with one picture of each named tool, in order."""

  def make(*tools, verdicts=()):
    pixels = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    picture = images.from_array(pixels)
    parts = tuple(
      Picture(
        picture,
        i,
        ToolCall('', 0, i, tool, '', {}),
        ToolOutcome('ok', 'none', (Candidate(picture),), tool=tool),
      )
      for i, tool in enumerate(tools)
    )
    return Answer('t', parts, verdicts=verdicts)

  return make
