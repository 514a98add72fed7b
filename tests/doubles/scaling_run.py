"""One scaled answer in a process of its own, to be killed and started again.

    python -m tests.doubles.scaling_run FOLDER URL

Written responses, small tools that log each call to `FOLDER/calls`, a selector behind the chat protocol at
URL, everything journalled in FOLDER. Prints the answer and what it took as one line of JSON.
"""

import asyncio
import json
import pathlib
import sys

from llmi_jax.judges.remote import MLLM, RemoteJudge
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit
from llmi_jax.tts import page, pipeline, record
from llmi_jax.tts.kept import kept
from llmi_jax.tts.ledger import Ledger
from llmi_jax.tts.repair import repairer
from llmi_jax.tts.selectors import Scores
from llmi_jax.tts.settings import Enhance, Plan, Sift
from tests.doubles import scaling

CAT = scaling.tagged('search', query='cat')
RESPONSES = [
  f'A cat. {CAT} Grey: {scaling.tagged("edit", img_index=0, prompt="grey")}',
  f'A house. {scaling.tagged("diffusion", prompt="house")}',
  f'A plot. {scaling.tagged("code", code="bad")} {CAT}',
  f'Two cats. {CAT}',
]
PLAN = Plan(samples=4, sift=Sift(()), keep=2, enhance=Enhance(2, 2))


async def main(folder, url):
  def log(tool, params, context):
    with (folder / 'calls').open('a') as file:
      file.write(json.dumps([tool, dict(params), context.seed, context.variant]) + '\n')

  folder.mkdir(exist_ok=True)
  journal = Journal(folder)
  settings = ChatSettings((url,), limit=Limit(1, 60.0))
  async with ChatClient(settings) as chat:
    ledger = Ledger()
    digest = lambda request: request.digest(chat.model, settings.image_pixels)
    complete = ledger.metered('selector', kept(chat.complete, journal, 'tts0/t', digest))
    repairs = ledger.metered('repairer', kept(chat.complete, journal, 'tts0/t', digest))
    selector = Scores('double', [RemoteJudge(MLLM, complete, chat.model).judge], scaling.value)
    crew = scaling.crew(
      RESPONSES,
      tools=scaling.Tools(log),
      selector=selector,
      ledger=ledger,
      repairer=repairer(repairs),
      journal=journal,
    )
    result = await pipeline.run(scaling.task(), crew, PLAN, 0)
  journal.close()
  record.write(folder, [(scaling.task(), 0, result)])
  page.write(folder, scaling.task(), result)
  told = {
    'response': result.answer.document.response,
    'pictures': [picture.image.sha256 for picture in result.answer.pictures],
    'fates': [[f.revision, f.stage, f.kept, f.value] for f in result.tree.fates],
    'calls': result.account.total.calls,
    'tokens': result.account.total.tokens,
  }
  print(json.dumps(told))


if __name__ == '__main__':
  asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
