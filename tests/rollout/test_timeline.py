"""Overlapping calls of one kind count once."""

import pytest

from llmi_jax.rollout.timeline import Timeline


def test_seconds_are_the_length_of_the_union():
  timeline = Timeline()
  for span in ((0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.4)):
    timeline.add('tools', *span)
  timeline.add('judge', 0.0, 0.5)
  assert timeline.seconds('tools') == pytest.approx(4.0)
  assert timeline.seconds('judge') == pytest.approx(0.5)
  assert timeline.seconds('nothing') == 0.0


def test_idle_is_what_the_device_leaves_of_a_step():
  timeline = Timeline()
  spans = (('view', 0.0, 0.1), ('prefill', 0.1, 0.3), ('decode', 0.25, 1.0), ('update', 2.0, 3.0))
  for kind, started, ended in spans:
    timeline.add(kind, started, ended)
  timeline.add('tools', 0.0, 2.0)
  told = timeline.scalars()
  assert told['time/step'] - told['time/idle'] == pytest.approx(2.0)
  assert told['time/tools'] == pytest.approx(2.0)


def test_span_is_recorded_although_the_work_failed():
  timeline = Timeline()
  with pytest.raises(KeyError), timeline.span('tools'):
    raise KeyError
  assert len(timeline.intervals()['tools']) == 1
