"""Numbers that are not finite never reach the parameters, and are named; a step computed twice agrees."""

import pytest

pytestmark = pytest.mark.slow


def run(workers, plant):
  found = workers.go_on({}, plant=plant)
  assert 'state' in found, found
  second = found['state']['metrics'][1]
  rows = [row for row in found['state']['rollouts'] if row[0].startswith('1/train')]
  return found, second, rows


def test_a_reward_that_is_not_finite_costs_its_sample_alone(workers, recorded):
  found, second, _ = run(workers, 'reward_not_finite')
  (said,) = found['said']
  assert 'sample 0 of task' in said and 'its reward is nan; left out of step 2' in said
  assert second['rollout/unscorable'] == 1 and found['state']['summary']['steps'] == 3


def test_logits_that_are_not_finite_end_the_run_and_name_the_sample(workers, recorded):
  left = {}
  found = workers.go_on({}, left=left, plant='logits_not_finite')
  assert 'The logits of token 0 of prompt 0, sample 0, are not numbers' in found['error']
  again = workers.go_on(left)
  assert again['began'] == 1 and again['state'] == recorded.found['state']


def test_a_gradient_that_is_not_finite_is_left_out_and_its_sample_named(workers, recorded):
  found, second, _ = run(workers, 'gradient_not_finite')
  (said,) = found['said']
  assert 'step 2 was skipped: the gradient of sample 1 of task' in said and 'is not finite' in said
  assert 'sample 0' not in said
  assert second['skipped'] == 1 and found['state']['metrics'][2]['skipped'] == 0


def test_a_step_computed_twice_is_the_same_and_changes_nothing(workers, recorded):
  found, second, _ = run(workers, 'replayed')
  assert found['said'] == [] and second['policy/replay_differing'] == 0
  assert found['state']['summary'] == recorded.found['state']['summary']


def test_a_flipped_bit_in_a_step_computed_twice_is_told(workers, recorded):
  found, second, _ = run(workers, 'replayed_otherwise')
  assert len(found['said']) == 3 and 'computed twice from one state, differs in' in found['said'][0]
  assert second['policy/replay_differing'] > 0
  assert found['state']['summary'] == recorded.found['state']['summary']
