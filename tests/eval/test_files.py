"""What is wrong in files is named with its line; the rest is read; nothing outside the folder is."""

import json

import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.eval import lines, pictures
from llmi_jax.eval.lines import Row
from llmi_jax.eval.record import Fault
from tests.doubles.web import bomb, picture


def test_bad_lines_are_named_and_good_ones_read(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_bytes(b'{"a": 1}\n\n{broken\n[1]\n\xff\xfe\n{"b": 2}')
  found = list(lines.rows(path))
  assert [row.data for row in found if isinstance(row, Row)] == [{'a': 1}, {'b': 2}]
  assert [fault.where.rpartition(':')[2] for fault in found if isinstance(fault, Fault)] == ['3', '4', '5']
  last = found[-1]
  assert lines.row_at(path, last.offset, last.where) == last


def test_elements_of_a_list_know_their_lines(tmp_path):
  path = tmp_path / 'x.json'
  path.write_text('[\n {"a": 1},\n 5,\n {"b":\n 2}\n]')
  found = list(lines.elements(path))
  assert [one.where.rpartition(':')[2] for one in found] == ['2', '3', '4']
  assert isinstance(found[1], Fault) and found[2].data == {'b': 2}


@pytest.mark.parametrize('text', ['', '{}', '[{"a": 1}', '[' * 100_000])
def test_what_is_no_list_is_refused(tmp_path, text):
  (tmp_path / 'x.json').write_text(text)
  with pytest.raises(DataError, match='JSON list'):
    list(lines.elements(tmp_path / 'x.json'))


def test_deep_nesting_is_a_fault(tmp_path):
  (tmp_path / 'x.jsonl').write_text('[' * 100_000 + '\n{"a": 1}')
  first, second = lines.rows(tmp_path / 'x.jsonl')
  assert isinstance(first, Fault) and second.data == {'a': 1}


def test_pictures_are_found_inside_the_folder_only(tmp_path):
  inside, outside = tmp_path / 'in', tmp_path / 'out'
  inside.mkdir()
  outside.mkdir()
  for folder in (inside, outside):
    (folder / 'a.png').write_bytes(picture().png)
  (inside / 'link.png').symlink_to(outside / 'a.png')
  assert pictures.find(inside, 'a.png').image == picture()
  for name in ('../out/a.png', str(outside / 'a.png'), 'link.png', 'b.png', '', 'a\x00.png', '.'):
    assert pictures.find(inside, name).image is None, name


def test_another_ending_is_taken_and_named_where_that_is_wanted(tmp_path):
  (tmp_path / 'A.PNG').write_bytes(picture().png)
  found = pictures.find(tmp_path, 'a.jpg')
  assert found.image == picture() and 'wrong ending' in found.fault
  assert pictures.find(tmp_path, 'a.jpg', near=False).image is None


def test_a_picture_that_is_none_or_a_bomb_is_a_fault(tmp_path):
  (tmp_path / 'a.png').write_bytes(b'<svg/>')
  (tmp_path / 'b.png').write_bytes(bomb())
  for name in ('a.png', 'b.png'):
    found = pictures.find(tmp_path, name)
    assert found.image is None and 'cannot be read' in found.fault


def test_a_line_is_found_in_an_indented_file(tmp_path):
  (tmp_path / 'x.json').write_text(json.dumps({'a': 1, 'b': 'here'}, indent=1))
  assert lines.line_of(tmp_path / 'x.json', '"here"').endswith(':3')
