"""The kill images find what they are there to find: each fault that is put in on purpose is noticed."""

import pytest

from tests.faults import disk
from tests.faults.test_kill_images import check

pytestmark = pytest.mark.slow

# Where a fault lies: in the run that is killed, or in the one that goes on.
WRITING = ('files_unsynced', 'folders_unsynced', 'manifest_first', 'pruned_first', 'used_first')
READING = ('scalar_unrestored', 'step_skipped')


def first_fault(workers, images, operations, wanted, plant='none'):
  """What is found first, and at which image counted from 1."""
  number = 0

  def counted():
    nonlocal number
    for image in images:
      number += 1
      yield image

  return next(check(workers, counted(), operations, wanted, {}, plant), None), number


@pytest.mark.parametrize('plant', WRITING)
def test_a_fault_of_the_killed_run_is_found(workers, recorded, plant):
  faulty = workers.record(plant=plant)
  images = [image for image in disk.images(faulty.operations) if not image.seen]
  found, number = first_fault(workers, images, faulty.operations, recorded.found['state'])
  print(f'\n{plant}: {found} ({number} images)')
  assert found


@pytest.mark.parametrize('plant', READING)
def test_a_fault_of_the_run_that_goes_on_is_found(workers, recorded, plant):
  images = [image for image in disk.images(recorded.operations) if image.kind == 'kill' and not image.seen]
  wanted = recorded.found['state']
  found, number = first_fault(workers, images, recorded.operations, wanted, plant)
  print(f'\n{plant}: {found} ({number} images)')
  assert found


def test_a_best_step_that_is_pruned_is_found(workers, recorded):
  assert workers.go_on({}, plant='best_forgotten')['state'] != recorded.found['state']
