"""What is demanded of a run that goes on from an image."""

import re
from collections.abc import Sequence
from typing import Any

from tests.faults import disk

_PUBLISHED = re.compile(r'checkpoints/step=(\d+)/manifest\.json')


def fault(
  image: disk.Image,
  operations: Sequence[disk.Operation],
  found: dict[str, Any],
  wanted: dict[str, Any],
  points: dict[int, str],
) -> str:
  """What is wrong with what was made of an image; empty if nothing is.

  Args:
    image: what a kill or a power cut left.
    operations: of the run that left it.
    found: a worker's answer.
    wanted: what the uninterrupted run came to.
    points: step → digest of the state that a run goes on from; filled in.
  """
  if 'state' not in found and 'restored' not in found:
    return str(found.get('error') or found.get('crash'))
  before = operations[: image.at]
  if found['began'] < (oldest := published(before, image.kind)):
    return f'goes on from step {found["began"]} although {oldest} was published'
  if points.setdefault(found['began'], found['restored']) != found['restored']:
    return f'step {found["began"]} is not the state that other images have'
  if 'state' not in found:
    return ''
  used = {o.path.removeprefix('used ') for o in before if o.kind == 'mark' and o.path.startswith('used ')}
  if again := used.intersection(found['calls']):
    return f'calls again what was used: {sorted(again)}'
  state = found['state']
  differs = [name for name in wanted if state[name] != wanted[name]]
  return f'ends otherwise in {", ".join(differs)}' if differs else ''


def published(operations: Sequence[disk.Operation], kind: disk.Kind) -> int:
  """The newest step that must be there: published, and durably so where the power is cut."""
  newest, waiting = 0, dict[str, int]()
  for operation in operations:
    if operation.kind == 'rename' and (match := _PUBLISHED.fullmatch(operation.other)):
      waiting[operation.other.rpartition('/')[0]] = int(match[1])
      if kind == 'kill':
        newest = max(newest, int(match[1]))
    elif operation.kind == 'sync' and operation.path in waiting:
      newest = max(newest, waiting[operation.path])
  return newest
