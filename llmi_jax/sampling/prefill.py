"""Which tokens of which prompts a prefill takes: one chunk of prompts that share its shape."""

from collections.abc import Sequence

import numpy as np

from llmi_jax.sampling.rounds import Kind, Want
from llmi_jax.sampling.settings import EngineConfig
from llmi_jax.sampling.slots import Group
from llmi_jax.sampling.state import Chunk


def kinds(config: EngineConfig, sees: bool) -> list[Kind]:
  """Every kind of prefill that there can be; `sees` tells whether prompts may have pictures."""
  width, widths = config.first_bucket, []
  while width < config.most_width:
    widths.append(width)
    width *= 2
  seen = (False, True) if sees else (False,)
  return [Kind(f, w, s) for f in (True, False) for w in [*widths, config.most_width] for s in seen]


def kind_of(group: Group, config: EngineConfig) -> Kind:
  """What the next chunk of a prompt needs."""
  left, most = len(group.request.tokens) - group.done, config.most_width
  width = most if left >= most else config.bucket(left, most)
  return Kind(group.done == 0, width, group.request.features is not None)


def together(kind: Kind, groups: Sequence[Group], shards: int, most: int) -> list[list[Group]]:
  """By shard, the prompts of a kind that go together, at most `most` each; one with pictures goes alone."""
  groups = groups[:1] if kind.sees else groups
  # A later chunk reads a copy of what its prompt left before: one prompt's at a time.
  most = most if kind.first else 1
  return [[group for group in groups if group.shard == shard][:most] for shard in range(shards)]


def want(kind: Kind, chosen: Sequence[Sequence[Group]]) -> Want:
  """What a process says of prompts that would go together."""
  groups = [group for own in chosen for group in own]
  if not groups:
    return Want()
  ends = any(len(group.request.tokens) - group.done <= kind.width for group in groups)
  return Want(max(map(len, chosen)), max(group.done for group in groups) + kind.width, ends)


def chunk_of(groups: Sequence[Group | None], kind: Kind) -> Chunk:
  """The next tokens of each group's prompt; None stands for nothing."""
  count, width = len(groups), kind.width
  tokens, rows = np.zeros((count, width), np.int32), np.full((count, width), -1, np.int32)
  positions = np.zeros((3, count, width), np.int32)
  start, length, entry, following = np.zeros((4, count), np.int32)
  for i, group in enumerate(groups):
    if group is None:
      continue
    request, piece = group.request, slice(group.done, group.done + width)
    own = request.tokens[piece]
    start[i], length[i], entry[i] = group.done, len(own), group.entry
    tokens[i, : len(own)] = own
    positions[:, i] = group.done + np.arange(width)
    if request.positions is not None:
      positions[:, i, : len(own)] = request.positions[:, piece]
    if request.rows is not None:
      rows[i, : len(own)] = request.rows[piece]
    following[i] = len(request.tokens) if request.next is None else request.next
  seen = rows if kind.sees else None
  return Chunk(tokens, positions if kind.sees else positions[0], start, length, entry, following, seen)
