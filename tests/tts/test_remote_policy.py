"""A remote policy scaled: policy, selector, polisher and repairer each behind the chat protocol."""

import asyncio
import pathlib
import re

from absl import flags

from llmi_jax import answering, crews, front
from llmi_jax.answering import Writing
from llmi_jax.core.answer import Prose
from llmi_jax.rollout.device import Device
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.completion import ChatReply
from llmi_jax.services.journal import Entry, Journal
from llmi_jax.text import tag
from tests.doubles import scaling
from tests.doubles.chat import Act, ChatServer, texts

flags.FLAGS.mark_as_parsed()
ROOT = pathlib.Path(__file__).resolve().parents[2]
CAT = tag.write('search', 'a tabby cat', {'query': 'tabby cat'})


def writes(body, number):
  return Act(text=f'Cats number {body["seed"] % 7}, {body["seed"]}. {CAT}')


def works(body, number):
  """Selects by the number in a text, the higher the better, and polishes."""
  text = texts(body)
  if marks := re.findall(r'\[\[\d+:[0-9a-f]{8}\]\]', text.partition('BEGIN DOCUMENT')[2]):
    return Act(text=f'Cats number 9, and they purr.\n{marks[0]}\nThey sleep.')
  code = re.search(r'BEGIN DOCUMENT A (\w+)', text)[1]
  a, b = (re.search(rf'BEGIN DOCUMENT {x} {code}.*?number (\d)', text, re.S)[1] for x in 'AB')
  return Act(text=f'VERDICT {code}\nbetter: {"tie" if a == b else "A" if a > b else "B"}')


def test_everybody_is_asked_over_a_socket_and_once(tmp_path):
  run = front.read(str(ROOT / 'configs' / 'grpo_tiny.py'), ["--config.tools.names=('search',)"])

  async def once(policy, helper):
    changes = ['select.by=pairs', 'select.k=1', 'sample.n=3', 'enhance.m=1']
    path = f'{ROOT / "configs" / "tts_paper.py"}:{helper.url}'
    config = front.read(path, [f'--config.{change}' for change in changes])
    journal, device, told = Journal(tmp_path), Device(), []

    async def reply(key, ask):
      entry = Entry('chat', 0, 'policy', 0, key)
      kept = journal.get(entry, ChatReply)
      if kept is None:
        await journal.put(entry, kept := await ask())
      return kept

    try:
      async with answering.workshop(run, device, Writing(1.0, 64, stream='tts'), journal, None, 0) as shop:
        async with ChatClient(ChatSettings((policy.url,))) as chat:
          plain = answering.remote(chat, shop, reply)
          materials = crews.Materials(plain, shop.registry, shop.dispatcher, shop.place, journal)
          keep = lambda task, number, result: told.append(result)
          async with crews.opened(config, materials, keep) as generate:
            return (await generate(scaling.task(), 1, 0))[0], told[0]
    finally:
      journal.close()
      device.close()

  async def work():
    async with ChatServer(writes) as policy, ChatServer(works) as helper:
      first = await once(policy, helper)
      asked = len(policy.requests), len(helper.requests)
      second = await once(policy, helper)
      return first, second, asked, (len(policy.requests), len(helper.requests))

  (answer, result), (again, _), asked, after = asyncio.run(work())
  assert asked == after and asked[0] == 3
  assert again.document == answer.document
  assert result.tree.revisions[result.chosen].stage == 'polish'
  assert answer.parts[0] == Prose('Cats number 9, and they purr.\n')
  assert len(answer.pictures) == 1
  rows = result.account.rows
  assert (rows['sample', 'policy'].calls, rows['sample', 'policy'].prompt_tokens) == (3, 33)
  assert rows['select', 'selector'].calls == 6
  assert ('polish', 'polisher') in rows and ('final', 'selector') in rows
