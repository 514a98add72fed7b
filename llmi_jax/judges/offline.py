"""Two programmatic judges for tests and first runs: free, fast, the same at every call.

They are rules of thumb, not critics; `offline_text` and `offline_visual` say what each checks and what it
cannot. Every score's note lists its checks with their points. A task's `rubric` in the form of `core/rubric`
tells them what is wanted:

    mentions: a tabby cat                           the prose speaks of it
    shows: a tabby cat                              a found photograph whose caption holds these words
    plots: 3, 5, 8, 6 as line of lemonade sales     a chart of these numbers of this kind
    edits: turn it grey on 0 of a tabby cat         this change to the picture at this position
"""

from llmi_jax.core.answer import Answer
from llmi_jax.core.task import Task
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.judges import offline_text
from llmi_jax.judges.offline_visual import Visual

MODEL = 'offline'


class OfflineText:
  """Scores prose (`text`) and tags (`tag`), 1 to 5 each."""

  name = 'llm'

  async def judge(self, task: Task, answer: Answer, *, vote: int = 0, seed: int = 0) -> Verdict:
    """Judges at once; `seed` changes nothing."""
    del seed
    return _verdict(self.name, (offline_text.text(task, answer), offline_text.tag(task, answer)), vote)


class OfflineVisual:
  """Scores pictures: `image_quality`, `task_relevance` and `text_image_relevance`, 1 to 5 each."""

  name = 'mllm'

  def __init__(self):
    self._visual = Visual()

  async def judge(self, task: Task, answer: Answer, *, vote: int = 0, seed: int = 0) -> Verdict:
    """Judges at once; `seed` changes nothing. An answer without a picture is not applicable."""
    del seed
    if not answer.pictures:
      return Verdict(self.name, 'not_applicable', reason='There is no picture.', model=MODEL, vote=vote)
    return _verdict(self.name, self._visual.scores(task, answer), vote)


def _verdict(judge: str, scores: tuple[Score, ...], vote: int) -> Verdict:
  words = '\n'.join(f'{score.name} {score.value:g}: {score.note}' for score in scores)
  return Verdict(judge, 'scored', scores, justification=words, model=MODEL, vote=vote)
