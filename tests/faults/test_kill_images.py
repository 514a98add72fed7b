"""Killed at any moment, or without power, a run goes on to the bits of the one that nobody disturbed.

One run is recorded, operation by operation. Every tree that a kill between two operations leaves is gone on
from, to the end; so is every tree that a power cut leaves, with names and contents lost or torn that were not
synced. What differs from an image before only inside a step that was never published is gone on from after
kills, and looked at after power cuts: it must restore the very same state.
"""

import collections

import pytest

from tests.faults import demands, disk

pytestmark = pytest.mark.slow


def check(workers, images, operations, wanted, points, plant='none'):
  """Goes on from every image and yields those that end badly, with what is wrong."""

  def one(image):
    brief = image.kind == 'torn' and image.seen
    found = workers.go_on(image.tree, plant=plant, restore_only=brief)
    return image, demands.fault(image, operations, found, wanted, points)

  for image, fault in workers.each(images, one):
    if fault:
      yield f'{image.kind} after operation {image.at}: {fault}'


def test_a_second_run_is_the_same(workers, recorded):
  again = workers.go_on({})
  assert again['state'] == recorded.found['state'] and again['began'] == 0
  assert again['state']['folders'] == ['step=2', 'step=3'], 'the best and the last'
  assert len(again['calls']) >= 3, 'too few calls to show anything'


def test_every_image_ends_in_the_same_bits(workers, recorded):
  points, counts = {}, collections.Counter()

  def counted():
    for image in disk.images(recorded.operations):
      counts[image.kind, image.seen] += 1
      yield image

  wanted = recorded.found['state']
  bad = list(check(workers, counted(), recorded.operations, wanted, points))
  print(f'\nimages: {dict(counts)}; gone on from steps {sorted(points)}')
  assert not bad, bad[:5]
  assert set(points) == {0, 1, 2, 3} and counts['kill', True] + counts['kill', False] > 250


def test_a_kill_while_going_on_after_a_kill_ends_in_the_same_bits(workers, recorded):
  wanted, points, bad, number = recorded.found['state'], {}, [], 0
  kills = [image for image in disk.images(recorded.operations) if image.kind == 'kill']
  torn = [image for image in disk.images(recorded.operations) if image.kind == 'torn' and not image.seen]
  # In the midst of the second save, just after its manifest, and a torn tail.
  published = next(
    at for at, o in enumerate(recorded.operations, 1) if o.other == 'checkpoints/step=2/manifest.json'
  )
  middle = [min(kills, key=lambda image: abs(image.at - at)) for at in (published - 40, published + 1)]
  for first in (*middle, torn[-1]):
    second = workers.record(first.tree)
    nested = [i for i in disk.images(second.operations, first.tree) if not i.seen or i.at % 23 == 0]
    number += len(nested)
    bad += check(workers, nested, second.operations, wanted, points)
  print(f'\nnested images: {number}')
  assert not bad, bad[:5]
