"""Tables are for people and programs, and harmless to both."""

import csv
import io

from llmi_jax.eval import table
from llmi_jax.eval.record import Value
from llmi_jax.eval.table import Column, Figure, Table


def test_a_column_counts_what_is_missing_and_what_is_floor_filled():
  column = Column('x')
  for value in (
    Value('x', 2.0),
    Value('x', 0.0, 'floored'),
    Value('x', None, 'missing'),
    Value('x', None, 'absent'),
  ):
    column.add('all', value)
  found = column.mean('all')
  assert (found.value, found.n, found.missing, found.floored) == (1.0, 2, 1, 1)
  assert column.mean('nowhere').value is None


def test_markdown_says_counts_intervals_and_facts():
  figure = Figure('all', 'good', 0.5, 10, 2, 3, 0.25, 0.75)
  text = table.markdown([Table('Title', (figure,), ('A note.',), (('judge', 'a | <b>'),))])
  assert '| all | good | 0.500 | 0.250 to 0.750 | 10 | 2 | 3 |' in text
  assert '- A note.' in text and 'a \\| &lt;b>' in text


def test_a_spreadsheet_finds_no_formula():
  figures = (Figure('=cmd()', '+x', None, 0),)
  rows = list(
    csv.DictReader(io.StringIO(table.comma_separated([Table('t', figures, (), (('who', '@me'),))])))
  )
  assert rows[0]['row'] == "'=cmd()" and rows[0]['figure'] == "'+x" and rows[0]['who'] == "'@me"
  assert rows[0]['value'] == ''


def test_csv_keeps_every_digit():
  value = 1 / 3
  rows = list(csv.DictReader(io.StringIO(table.comma_separated([Table('t', (Figure('a', 'b', value, 1),))]))))
  assert float(rows[0]['value']) == value
