"""Charts say what the numbers say, gaps included."""

import xml.etree.ElementTree as ET

import pytest

from llmi_jax.report import charts, colours, curves


def points(drawn, kind):
  """Coordinates of each line of a class."""
  found = [e for e in ET.fromstring(str(drawn.svg)).iter('polyline') if kind in e.get('class').split()]
  return [[tuple(map(float, p.split(','))) for p in e.get('points').split()] for e in found]


def line(*values, whole=True):
  return charts.Chart(
    'Reward', 'score', tuple(range(len(values))), (charts.Series('llm', values),), whole=whole
  )


def test_higher_values_stand_higher_and_the_axis_is_the_whole_range():
  ((first, second, third),) = points(charts.draw(line(0, 0.5, 1)), 'line')
  assert first[1] > second[1] > third[1]
  assert first[1] - second[1] == pytest.approx(second[1] - third[1])
  assert third[1] == charts._TOP and first[1] == charts._HEIGHT - charts._BOTTOM


def test_a_missing_value_is_a_gap_and_a_lone_value_a_dot():
  drawn = charts.draw(line(0.1, 0.2, None, 0.4))
  assert len(points(drawn, 'line')) == 1
  assert len(list(ET.fromstring(str(drawn.svg)).iter('circle'))) == 1
  assert drawn.rows[2] == ('2', '–')


def test_long_runs_are_smoothed_over_their_raw_line():
  drawn = charts.draw(line(*[i % 2 for i in range(100)]))
  (smoothed,) = points(drawn, 'line')
  spread = lambda run: max(y for _, y in run) - min(y for _, y in run)
  assert drawn.window > 1 and len(points(drawn, 'raw')) == 1
  assert spread(smoothed[10:-10]) < 0.3 * spread(points(drawn, 'raw')[0])


def test_smoothing_keeps_a_constant_and_bridges_a_gap():
  assert charts.smooth([2.0, 2.0, None, 2.0], 3) == [2.0, 2.0, 2.0, 2.0]
  assert charts.smooth([None, None, None], 3) == [None, None, None]


def test_layers_add_up():
  series = tuple(charts.Series(n, (1.0, 3.0)) for n in ('decode', 'update'))
  drawn = charts.draw(charts.Chart('Time', 's', (0, 1), series, stacked=True))
  areas = list(ET.fromstring(str(drawn.svg)).iter('polygon'))
  below, above = ([float(p.split(',')[1]) for p in a.get('points').split()] for a in areas)
  assert above[2:] == below[1::-1]  # the upper layer stands on the lower one


def test_one_step_can_be_drawn():
  assert '<circle' in charts.draw(line(0.5)).svg
  layers = charts.Chart('Time', 's', (0,), (charts.Series('update', (1.0,)),), stacked=True)
  assert '<rect' in charts.draw(layers).svg


def test_table_twins_of_long_runs_keep_first_and_last_step():
  drawn = charts.draw(line(*[0.5] * 1000))
  assert drawn.thinned and len(drawn.rows) <= 60
  assert (drawn.rows[0][0], drawn.rows[-1][0]) == ('0', '999')


def test_names_are_escaped():
  drawn = charts.draw(charts.Chart('<b>', '<i>', (0, 1), (charts.Series('"><script>', (1, 2)),)))
  assert '<script>' not in drawn.svg and '<b>' not in drawn.svg


@pytest.mark.parametrize('low, high', [(0, 1), (0, 0.003), (-4, 7), (0, 987_654), (5, 5)])
def test_ticks_are_few_round_and_span_the_range(low, high):
  marks = charts.ticks(low, high)
  assert 2 <= len(marks) <= 5 and marks[0] <= low and marks[-1] >= high


def test_numbers_for_people():
  given = (None, 0, 1, 0.12345, 12.345, 1234.5, 0.00012)
  assert [charts.number(v) for v in given] == ['–', '0', '1', '0.123', '12.3', '1,234', '1.2e-04']


def test_only_what_was_measured_becomes_a_chart():
  made = curves.charts([{'step': 0, 'reward/mean': 0.5, 'reward/mllm': None, 'tools/atlas/calls': 2}])
  assert [(c.title, [s.name for s in c.series]) for c in made] == [
    ('Reward and its parts', ['reward']),
    ('Tool calls', ['atlas']),
  ]
  assert curves.charts([]) == []


def test_a_cause_that_is_not_counted_in_a_step_did_not_occur():
  (chart,) = curves.charts([{'step': 0}, {'step': 1, 'unscorable/judge llm': 2.0}])
  assert chart.series[0].values == (0, 2.0)


def test_colours_last_and_tools_differ():
  assert len({colours.of(t) for t in ('search', 'diffusion', 'code', 'edit', 'atlas')}) == 5
  assert colours.of('atlas') == colours.of('atlas')
