"""What OpenING's judges are shown: in our words, or laid out as the reference's scripts lay it out.

The reference strips marks, numbers pictures through request and answer as `<IMG_n></IMG_n>`, squashes them to
512×512 pixels, and drops those that are missing without a word.
"""

from collections.abc import Sequence

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import ImagePart, Part, TextPart
from llmi_jax.eval import framing
from llmi_jax.eval.opening.outputs import steps
from llmi_jax.eval.opening.records import Step
from llmi_jax.eval.record import Record


class Laid:
  """A user message under construction, laid out as the reference does."""

  def __init__(self):
    self.parts: list[Part] = []
    self._number = 0

  def request(self, record: Record, title: str) -> None:
    """The input steps."""
    self._steps(record.task.payload.steps, title)

  def answer(self, answer: Answer | None, title: str) -> None:
    """The output steps."""
    self._steps(steps(answer, 'repo') if answer else [Step('', None)], title)

  def text(self, words: str) -> None:
    self.parts.append(TextPart(words))

  def _steps(self, found: Sequence[Step], title: str) -> None:
    for index, step in enumerate(found):
      text = f'{title}{step.text}' if index == 0 else step.text
      if step.image is None:
        self.text(text)
        continue
      self.text(f'{text} <IMG_{self._number}></IMG_{self._number}>')
      self.parts.append(ImagePart(framing.squashed(step.image)))
      self._number += 1


def ours(record: Record, **answers: Answer | None) -> dict[str, str | tuple[Part, ...]]:
  """Places of our prompts: `request`, and one per answer."""
  shown: dict[str, str | tuple[Part, ...]] = {'request': framing.asked(record.task.messages)}
  return shown | {name: framing.seen(answer) for name, answer in answers.items()}
