"""A disk that is full or broken while a checkpoint is saved: told at once, and the older step stays."""

import errno

import pytest

from tests.faults import disk

pytestmark = pytest.mark.slow

EVERY = 9  # operations between two that fail; all of them are asked elsewhere, by the kill images


@pytest.fixture(scope='module')
def begun(recorded):
  """What the run has on disk when its first step is published, and how much a save has to do."""
  before, operations = disk.Disk(), recorded.operations
  at = next(i for i, o in enumerate(operations) if o.other == 'checkpoints/step=1/manifest.json') + 2
  for operation in operations[:at]:
    before.apply(operation)
  tree = {path: one.data if one else None for path, one in before.image('kill').items()}
  kinds = ('create', 'write', 'sync', 'mkdir', 'rename')
  return tree, sum(o.kind in kinds and o.path.startswith('checkpoints/step=2') for o in operations)


@pytest.mark.parametrize(('number', 'on'), [(errno.ENOSPC, True), (errno.EIO, False)], ids=['full', 'broken'])
def test_a_save_that_fails_is_told_and_the_older_step_goes_on(workers, recorded, begun, number, on):
  tree, operations = begun

  def one(at):
    left = {}
    fail = {'at': at, 'number': number, 'on': on, 'part': 'checkpoints/step=2'}
    found = workers.go_on(tree, left=left, fail=fail)
    return at, found, workers.go_on(left)

  silent, tried = [], 0
  for at, found, again in workers.each(range(1, operations, EVERY), one):
    if not found['failed']:  # how Orbax joins its writes is not the same in every run: this one had fewer
      assert at > operations / 2 and found['state'] == recorded.found['state']
      continue
    tried += 1
    if 'error' not in found:
      silent.append((at, found.get('crash')))
      continue
    assert 'cannot be written' in found['error'] and 'checkpoints/step=2' in found['error'], (at, found)
    # The save of step 2 began behind its line of metrics; it is told behind the next one, or before.
    assert found['lines'] <= 3, at
    assert again['began'] == 1, at
    assert again['state'] == recorded.found['state'], at
  print(f'\n{tried} failures of {operations} operations')
  assert not silent, silent
