"""What follows from reports: the same for all, whoever asks."""

import numpy as np

from llmi_jax.sampling.rounds import Report, Want, decide

IDLE = Report(False, False, False, False, False, 0, 0, False, -1, (Want(), Want()))
FULL = Report(True, False, False, True, False, 4, 9, True, -1, (Want(), Want()))
ASKS = Report(True, False, False, False, False, 4, 0, True, 1, (Want(), Want(2, 24, True)))
OTHER = Report(True, True, True, False, True, 2, 3, False, 0, (Want(1, 8, False), Want(3, 16, False)))


def of(*reports, turn=0):
  return decide(np.stack([report.numbers() for report in reports]), turn)


def test_nobody_busy_is_over():
  assert of(IDLE, IDLE).over and not of(IDLE, FULL).over


def test_who_has_nothing_decodes_beside_who_has():
  found = of(IDLE, FULL)
  assert found.decode and found.oldest == 9 and found.hungry and found.kind == -1


def test_a_prompt_that_ends_makes_rows_begin():
  found = of(ASKS, IDLE)
  assert (found.kind, found.most, found.slots, found.begin, found.decode) == (1, 2, 24, True, True)


def test_wishes_take_turns_and_the_widest_share_counts():
  first, second = of(ASKS, OTHER, turn=0), of(ASKS, OTHER, turn=1)
  assert (first.kind, first.most, first.slots) == (1, 3, 24)
  assert (second.kind, second.most, second.slots) == (0, 1, 8)
  assert first.extend and first.drop and first.oldest == 3 and first.rows == 4


def test_a_prompt_that_is_too_long_for_one_chunk_decodes_nothing_yet():
  long = Report(True, False, False, False, False, 1, 0, False, 0, (Want(1, 8, False), Want()))
  assert not of(long).decode and of(long).kind == 0
