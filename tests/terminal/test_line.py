"""A step's line has everything in 160 columns; steps that compile say nothing of rate and time left."""

import io
import math

import pytest

from llmi_jax.terminal import line, speed
from llmi_jax.terminal.progress import Progress
from llmi_jax.terminal.screen import Screen
from tests.terminal.steps import SCALARS


def test_the_line_has_everything():
  assert line.line(12, 120, SCALARS, 304) == (
    'step 12/120 reward 0.512±0.20 flat 12% KL 0.012 clip 0.4% |g| 0.83 len 84 cut 3.0% lost 3+2 3.2k tok/s '
    'MFU 37% 2.1 GiB s 2.1+0.2+0.4+1.1+0.4=4.0 ETA 5m04s'
  )


def test_what_is_not_there_is_said_not_to_be():
  text = line.line(1, 2, {name: math.nan for name in SCALARS})
  assert text.count('n/a') == 12 and 'nan' not in text
  assert line.line(1, 2, {}) and 'KL n/a' in line.line(1, 2, SCALARS, kl=False)


def test_no_line_is_wider_than_160_columns():
  wide = {name: 123456.789 for name in SCALARS}
  assert len(line.line(99_999, 100_000, wide, 359_999)) == 160
  assert len(line.HEAD) + len('Columns: ') <= 160


def test_rate_and_time_left_leave_out_steps_that_compile():
  progress = Progress(Screen(io.StringIO()), 10)
  progress.update(1, SCALARS | {'time/step': 90.0, 'time/compile': 80.0})
  assert progress.left(1) is None
  assert line.rate(SCALARS | {'time/compile': 80.0}) is None and line.rate(SCALARS) == 3250
  progress.update(2, SCALARS)
  assert progress.left(2) == 4.0 * 8 and progress.left(10) == 0.0


def test_a_run_that_goes_on_knows_its_rate_at_once():
  past = [SCALARS | {'time/compile': 3.0, 'time/step': 60.0}, SCALARS, SCALARS | {'time/step': 6.0}]
  assert Progress(Screen(io.StringIO()), 10, 3, past).left(3) == 5.0 * 7


@pytest.mark.parametrize(
  ('kind', 'wanted'),
  [
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA H200', 989e12),
    ('TPU v5 lite', 197e12),
    ('TPU v5', 459e12),
    ('TPU v4 lite', None),
    ('cpu', None),
  ],
)
def test_peaks_are_those_of_the_kind_or_none(kind, wanted):
  assert speed.peak(kind) == wanted


def test_utilization_counts_each_token_once_each_way():
  assert speed.utilization(1000, 50, 2.0, 4, 1e5) == 8 * 1000 * 50 / (2.0 * 4 * 1e5)
