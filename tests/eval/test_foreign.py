"""Answers of other programs, one per line: what is wrong is named with its line, the rest is read."""

import json

from llmi_jax.core.answer import Gap, Picture, Prose
from llmi_jax.eval.foreign import Rows
from llmi_jax.eval.in_domain import InDomain
from llmi_jax.eval.isg import records
from tests.doubles.web import picture
from tests.eval.running import EXAMPLES


def write(path, *rows):
  path.write_text('\n'.join(row if isinstance(row, str) else json.dumps(row) for row in rows))


def text(words):
  return {'type': 'text', 'content': words}


def image(name):
  return {'type': 'image', 'content': name}


def test_answers_are_read_and_faults_named(tmp_path):
  path = tmp_path / 'x.jsonl'
  (tmp_path / 'a.png').write_bytes(picture().png)
  write(
    path,
    {'id': '0000', 'output': [text('One.'), image('a.png'), image('none.png'), image('../b.png')]},
    {'id': '0000', 'output': []},
    {'output': []},
    '{broken',
    {'id': '0001', 'output': None},
    {'id': '0002', 'output': [{'type': 'video', 'content': 'x'}]},
    {'id': '9999', 'output': []},
  )
  rows, known = Rows(path, 'fixed'), list(records.read(EXAMPLES / 'isg', 'fixed'))
  found = [rows.read(record) for record in known]
  assert [type(part) for part in found[0].answer.parts] == [Prose, Picture, Gap, Gap]
  assert all(one.answer is None for one in found[1:])
  faults = [*rows.faults, *(f for one in found for f in one.faults), *rows.unknown({r.id for r in known})]
  told = {(fault.where.rpartition(':')[2], fault.words[:28]) for fault in faults}
  assert {line for line, _ in told} == set('1234567')
  said = ' '.join(fault.words for fault in faults)
  for words in (
    'second answer',
    'has no id',
    'is no JSON',
    'no output',
    'no list of',
    'is no record',
    'outside',
  ):
    assert words in said


def test_equal_ids_are_told_apart_by_category(tmp_path):
  path = tmp_path / 'x.jsonl'
  write(
    path,
    {'id': '0000', 'Category': 'Attribute Transfer', 'output': [text('wrong')]},
    {'id': '0000', 'Category': 'Photo Variation', 'output': [text('right')]},
  )
  rows, record = Rows(path, 'fixed'), next(records.read(EXAMPLES / 'isg', 'fixed'))
  assert rows.read(record).answer.parts == (Prose('right'),) and not rows.faults


def test_records_without_a_category_have_answers_too(tmp_path):
  path = tmp_path / 'x.jsonl'
  write(path, {'id': 'test:0', 'output': [text('Leaves turn.')]})
  record = next(InDomain(EXAMPLES / 'in_domain' / 'test.parquet').records())
  assert Rows(path, 'repo').read(record).answer.parts == (Prose('Leaves turn.'),)


def test_pictures_of_another_root_are_found(tmp_path):
  write(tmp_path / 'x.jsonl', {'id': '0000', 'output': [image('images/0000_q1.png')]})
  record = next(records.read(EXAMPLES / 'isg', 'fixed'))
  assert not Rows(tmp_path / 'x.jsonl', 'fixed').read(record).answer.pictures
  assert Rows(tmp_path / 'x.jsonl', 'fixed', EXAMPLES / 'isg').read(record).answer.pictures
