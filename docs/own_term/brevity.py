"""A reward term of one's own: answers of up to 30 words are worth 1, those of 60 or more 0."""

from llmi_jax.core.answer import Answer, Prose
from llmi_jax.core.task import Task

FEW, MANY = 30, 60


def measure(task: Task, answer: Answer) -> tuple[float | None, str]:
  """The value in [0, 1], or None where it does not apply, and where it comes from."""
  words = sum(len(part.text.split()) for part in answer.parts if isinstance(part, Prose))
  return min(1.0, max(0.0, (MANY - words) / (MANY - FEW))), f'{words} words'


def get_term():
  return 'brevity', measure
