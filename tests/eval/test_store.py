"""What is kept is there after a kill; one process writes."""

import os
import signal
import subprocess
import sys

import pytest

from llmi_jax.core.answer import Answer, Picture, Prose
from llmi_jax.core.errors import ConfigError, StorageError
from llmi_jax.eval.calls import Said
from llmi_jax.eval.page import Shown
from llmi_jax.eval.record import Fault, Judged, Value
from llmi_jax.eval.store import NAME, Store
from llmi_jax.services import images
from tests.doubles.web import picture

JUDGED = Judged(
  'a',
  'group',
  (Value('x', 1.0), Value('y', None, 'missing', 'why')),
  (Said('score', {'a': 1.0, 'b': 'Yes'}, 'words', tokens=(1, 2), raw='\ud800'),),
  {'id': 'a', 'list': (1, 2)},
  (Fault('f:1', 'bad'),),
)


def test_records_come_back_as_they_were(tmp_path):
  answer = Answer('a', (Prose('x'), Picture(picture(), 0)), origin='me')
  with_pictures = Store(tmp_path)
  with_pictures.keep_item(3, JUDGED, Shown((), ((),)))
  with_pictures.keep_answer('a', answer)
  with_pictures.keep_reply('key', JUDGED.said[0])
  with_pictures.keep_settings({'mode': 'repo'})
  with_pictures.keep_thumbnails([picture(), picture()])
  with_pictures.close()
  store = Store(tmp_path)
  assert list(store.items()) == [JUDGED] and store.done('a') and not store.done('b')
  assert store.answer('a') == answer and store.answer('b') is None
  assert store.reply('key') == JUDGED.said[0] and store.settings() == {'mode': 'repo'}
  assert store.counts() == {'replies': 1, 'answers': 1, 'items': 1, 'thumbnails': 1}
  assert images.decode(store.thumbnail(picture().sha256)).width == picture().width
  store.close()


def test_items_come_in_the_records_order_whatever_order_they_end_in(tmp_path):
  store = Store(tmp_path)
  for number in (5, 100, 2, 70, 1):
    store.keep_item(number, Judged(str(number), '', ()), Shown((), ((),)))
  assert [item.id for item in store.items()] == ['1', '2', '5', '70', '100']
  store.close()


def test_a_second_process_is_refused(tmp_path):
  store = Store(tmp_path)
  store.keep_settings({'a': 1})
  with pytest.raises(ConfigError, match='another process'):
    Store(tmp_path)
  store.close()


def test_what_is_no_store_is_refused(tmp_path):
  with pytest.raises(ConfigError, match='holds no evaluation'):
    Store(tmp_path, read_only=True)
  (tmp_path / NAME).write_bytes(b'no database at all, ' * 100)
  with pytest.raises(StorageError, match='damaged'):
    Store(tmp_path)


def test_failures_are_forgotten_on_request(tmp_path):
  store = Store(tmp_path)
  answer = Answer('lost', (Prose('x'),))
  store.keep_item(0, JUDGED, Shown((), ((),)))
  store.keep_item(1, Judged('lost', '', (), lost='down'), Shown((), ((),)))
  store.keep_item(2, Judged('fine', '', (Value('x', 1.0),)), Shown((), ((),)))
  store.keep_answer('lost', answer)
  store.keep_reply('good', Said('a', {'x': 1.0}))
  store.keep_reply('bad', Said('a', missing='deadline: late'))
  assert store.forget_failures() == 2
  assert [item.id for item in store.items()] == ['fine'] and store.answer('lost') is None
  assert store.reply('good') and store.reply('bad') is None
  store.close()


WRITER = """
import sys
from llmi_jax.eval.calls import Said
from llmi_jax.eval.store import Store
store = Store(sys.argv[1])
for n in range(100000):
  store.keep_reply(str(n), Said('a', raw='x' * 500))
  print(n, flush=True)
"""


def test_nothing_that_was_kept_is_lost_to_a_kill(tmp_path):
  writer = subprocess.Popen([sys.executable, '-c', WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
  assert writer.stdout
  last = [writer.stdout.readline() for _ in range(40)][-1]
  os.kill(writer.pid, signal.SIGKILL)
  writer.wait()
  writer.stdout.close()
  store = Store(tmp_path)
  assert all(store.reply(str(n)) for n in range(int(last) + 1))
  store.close()
