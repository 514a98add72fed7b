"""Charts as inline SVG, made here so that a page needs no script to show them.

Colours come from classes, so that both themes are served; no `style` attribute occurs, which the page's
Content-Security-Policy would refuse.
"""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup

from llmi_jax.report import colours

_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 26, 36
_ROWS = 60  # of a table twin
_SMOOTH = 24  # steps from which on lines are smoothed


@dataclasses.dataclass(frozen=True)
class Series:
  """One line.

  Attributes:
    name: what it is called.
    values: one per step; None where there is none.
    strong: drawn above the others and thicker.
  """

  name: str
  values: tuple[float | None, ...]
  strong: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
  """What a figure shows.

  Attributes:
    title: its heading.
    unit: label of the vertical axis.
    steps: the horizontal axis.
    series: lines, or layers where `stacked`.
    note: a sentence under the heading.
    stacked: layers instead of lines.
    whole: whether the vertical axis runs from 0 to 1, whatever the values.
  """

  title: str
  unit: str
  steps: tuple[int, ...]
  series: tuple[Series, ...]
  note: str = ''
  stacked: bool = False
  whole: bool = False


@dataclasses.dataclass(frozen=True)
class Drawn:
  """A chart ready for a template: the picture, its legend and its table twin."""

  chart: Chart
  svg: Markup
  window: int
  legend: tuple[tuple[str, str, str], ...]
  rows: tuple[tuple[str, ...], ...]
  thinned: bool


def draw(chart: Chart) -> Drawn:
  """Draws a chart."""
  window = max(1, len(chart.steps) // 16) if len(chart.steps) >= _SMOOTH else 1
  picked = _evenly(len(chart.steps), _ROWS)
  rows = tuple((str(chart.steps[i]), *(_figure(chart, s.values[i]) for s in chart.series)) for i in picked)
  legend = tuple((s.name, colours.of(s.name), _figure(chart, _last(s.values))) for s in chart.series)
  return Drawn(chart, _svg(chart, window), window, legend, rows, len(picked) < len(chart.steps))


def number(value: float | None) -> str:
  """A number for people: three significant digits, thousands apart, a dash for none."""
  if value is None:
    return '–'
  if value and abs(value) < 0.001:
    return f'{value:.1e}'
  if abs(value) >= 100 or value == int(value):
    return f'{value:,.0f}'
  return f'{value:.1f}' if abs(value) >= 10 else f'{value:.3f}'


def signed(value: float | None, digits: int = 3) -> str:
  """A difference for people: its sign always, a dash for none."""
  if value is None:
    return '–'
  return f'{"−" if value < 0 else "+"}{abs(value):.{digits}f}'


def _figure(chart: Chart, value: float | None) -> str:
  """A number beside others of its chart."""
  return f'{value:.3f}' if chart.whole and value is not None else number(value)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
  """At most `most` round numbers that span a range."""
  if high <= low:
    high = low + 1
  raw = (high - low) / (most - 1)
  power = 10 ** math.floor(math.log10(raw))
  for factor in (1, 2, 2.5, 5, 10):
    gap = factor * power
    first, last = math.floor(low / gap + 1e-9), math.ceil(high / gap - 1e-9)
    if last - first < most:
      return [round(i * gap, 12) for i in range(first, last + 1)]
  return [low, high]


def smooth(values: Sequence[float | None], window: int) -> list[float | None]:
  """Centred running mean of what `window` steps have; None where they have nothing."""
  half = window // 2
  result: list[float | None] = []
  for i in range(len(values)):
    near = [v for v in values[max(0, i - half) : i + half + 1] if v is not None]
    result.append(sum(near) / len(near) if near else None)
  return result


@dataclasses.dataclass(frozen=True)
class _Frame:
  """Maps steps and values to the drawing's coordinates."""

  steps: tuple[int, ...]
  low: float
  high: float

  def x(self, step: float) -> float:
    first, last = self.steps[0], self.steps[-1]
    share = (step - first) / (last - first) if last > first else 0.5
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

  def y(self, value: float) -> float:
    share = (value - self.low) / (self.high - self.low)
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _svg(chart: Chart, window: int) -> Markup:
  layers = _layers(chart) if chart.stacked else []
  top = [t for layer in layers for t in layer[1]] if layers else []
  values = [v for s in chart.series for v in s.values if v is not None] + top
  low, high = min([0.0, *values]), max([0.0, *values])
  marks = [0, 0.25, 0.5, 0.75, 1] if chart.whole and high <= 1 and low >= 0 else ticks(low, high)
  frame = _Frame(chart.steps, marks[0], marks[-1])
  body = [*_axes(chart, frame, marks)]
  if chart.stacked:
    body += [_area(frame, name, lower, upper) for name, upper, lower in layers]
  else:
    for series in sorted(chart.series, key=lambda s: s.strong):
      body += _lines(frame, series, window)
  says = (
    f'{chart.title}, {chart.unit} over training steps {chart.steps[0]} to {chart.steps[-1]}: '
    + '; '.join(
      f'{s.name} from {number(_first(s.values))} to {number(_last(s.values))}' for s in chart.series
    )
  )
  template = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
  return template.format(_WIDTH, _HEIGHT, says, Markup('').join(body))


def _axes(chart: Chart, frame: _Frame, marks: list[float]) -> list[Markup]:
  left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
  made = []
  for mark in marks:
    y = frame.y(mark)
    kind = 'base' if mark == 0 else 'grid'
    made.append(Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(kind, left, right, y, y))
    label = Markup('<text class="y" x="{}" y="{}">{}</text>')
    made.append(label.format(left - 7, round(y + 4, 1), _tick(mark)))
  first, last = chart.steps[0], chart.steps[-1]
  for step in [t for t in ticks(first, last, 6) if t == int(t) and first <= t <= last]:
    label = Markup('<text class="x" x="{}" y="{}">{}</text>')
    made.append(label.format(frame.x(step), bottom + 17, f'{int(step):,}'))
  made.append(
    Markup('<text class="x name" x="{}" y="{}">step</text>').format((left + right) / 2, bottom + 32)
  )
  made.append(Markup('<text x="2" y="12">{}</text>').format(chart.unit))
  return made


def _lines(frame: _Frame, series: Series, window: int) -> list[Markup]:
  """The smoothed line over the raw one; a value without neighbours is a dot."""
  hue = colours.of(series.name)
  made = []
  if window > 1:
    made += _path(frame, series.values, f'raw {hue}')
  return made + _path(
    frame, smooth(series.values, window), f'line {hue} strong' if series.strong else f'line {hue}'
  )


def _path(frame: _Frame, values: Sequence[float | None], kind: str) -> list[Markup]:
  runs: list[list[tuple[float, float]]] = [[]]
  for step, value in zip(frame.steps, values):
    if value is None:
      runs.append([])
    else:
      runs[-1].append((frame.x(step), frame.y(value)))
  made = []
  for run in runs:
    if len(run) == 1:
      made.append(Markup('<circle class="{}" cx="{}" cy="{}" r="2"/>').format(kind, *run[0]))
    elif run:
      points = ' '.join(f'{x:g},{y:g}' for x, y in run)
      made.append(Markup('<polyline class="{}" points="{}"/>').format(kind, points))
  return made


def _layers(chart: Chart) -> list[tuple[str, list[float], list[float]]]:
  """Name, upper and lower edge of each layer, bottom first."""
  lower = [0.0] * len(chart.steps)
  layers = []
  for series in chart.series:
    upper = [a + (v or 0) for a, v in zip(lower, series.values)]
    layers.append((series.name, upper, lower))
    lower = upper
  return layers


def _area(frame: _Frame, name: str, lower: list[float], upper: list[float]) -> Markup:
  if len(frame.steps) == 1:  # a bar, since an area needs two steps
    x, y, height = frame.x(frame.steps[0]) - 20, frame.y(upper[0]), frame.y(lower[0]) - frame.y(upper[0])
    template = Markup('<rect class="area {}" x="{}" y="{}" width="40" height="{}"/>')
    return template.format(colours.of(name), x, y, round(height, 1))
  there = [f'{frame.x(s):g},{frame.y(v):g}' for s, v in zip(frame.steps, upper)]
  back = [f'{frame.x(s):g},{frame.y(v):g}' for s, v in zip(frame.steps, lower)]
  template = Markup('<polygon class="area {}" points="{}"/>')
  return template.format(colours.of(name), ' '.join(there + back[::-1]))


def _tick(mark: float) -> str:
  if abs(mark) >= 10_000:
    return f'{mark / 1000:g}k'
  return f'{mark:g}'


def _evenly(count: int, most: int) -> list[int]:
  """Up to `most` indices, the first and the last among them."""
  if count <= most:
    return list(range(count))
  return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _first(values: Sequence[float | None]) -> float | None:
  return next((v for v in values if v is not None), None)


def _last(values: Sequence[float | None]) -> float | None:
  return _first(values[::-1])
