"""A disk as a recorded run leaves it: what a kill at any moment leaves, and what a power cut does.

`kill` is the tree as it stands: the kernel outlives a killed process. `lost` has of names and contents only
what was synced. `torn` has all names, and of what was not synced in each file the first half.
"""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

Kind = Literal['kill', 'lost', 'torn']
KINDS: tuple[Kind, ...] = ('kill', 'lost', 'torn')
Tree = dict[str, bytes | None]  # path → content; None for a folder


class Operation(NamedTuple):
  """What the shim recorded; `other` is where a rename goes, `offset` where a write begins or a cut ends."""

  kind: str
  path: str
  other: str
  offset: int
  data: bytes


def read(log: pathlib.Path) -> Iterator[Operation]:
  """The operations of a log, in order."""
  with log.open('rb') as file:
    while line := file.readline():
      kind, path, other, offset, length = line.decode().rstrip('\n').split('\t')
      yield Operation(kind, path, other, int(offset), file.read(int(length)))


class Content(NamedTuple):
  """Bytes and their digest."""

  data: bytes
  digest: str


class File:
  """Contents now and as last synced."""

  def __init__(self, data: bytes = b'', synced: bytes = b''):
    self._data, self._synced = bytearray(data), synced
    self._known: dict[Kind, Content] = {}

  def write(self, offset: int, data: bytes) -> None:
    self._data.extend(bytes(max(0, offset - len(self._data))))
    self._data[offset : offset + len(data)] = data
    self._known.clear()

  def cut(self, length: int) -> None:
    del self._data[length:]
    self._data.extend(bytes(length - len(self._data)))
    self._known.clear()

  def sync(self) -> None:
    self._synced = bytes(self._data)
    self._known.clear()

  def content(self, kind: Kind) -> Content:
    if kind not in self._known:
      data = {'kill': lambda: bytes(self._data), 'lost': lambda: self._synced, 'torn': self._torn}[kind]()
      self._known[kind] = Content(data, hashlib.blake2b(data, digest_size=16).hexdigest())
    return self._known[kind]

  def _torn(self) -> bytes:
    if self._data == self._synced:
      return self._synced
    whole = len(self._synced) if self._data.startswith(self._synced) else 0
    return bytes(self._data[: whole + (len(self._data) - whole) // 2])


@dataclasses.dataclass(eq=False)
class Folder:
  """Names now and as last synced."""

  entries: 'dict[str, File | Folder]' = dataclasses.field(default_factory=dict)
  synced: 'dict[str, File | Folder]' = dataclasses.field(default_factory=dict)


class Disk:
  """Takes operations one by one."""

  def __init__(self, tree: Tree | None = None):
    """Starts from a tree, all of it durable."""
    self._root = Folder()
    for path, data in sorted((tree or {}).items()):
      above, name = self._above(path)
      above.entries[name] = Folder() if data is None else File(data, data)
      above.synced = dict(above.entries)

  def apply(self, operation: Operation) -> None:
    """Does what the process did."""
    kind, path, other, offset, data = operation
    if kind == 'mark':
      return
    if kind == 'sync':
      found = self._find(path)
      if isinstance(found, Folder):
        found.synced = dict(found.entries)
      else:
        found.sync()
      return
    above, name = self._above(path)
    if kind == 'create':
      above.entries[name] = File()
    elif kind == 'mkdir':
      above.entries[name] = Folder()
    elif kind in ('unlink', 'rmdir'):
      del above.entries[name]
    elif kind == 'rename':
      target, new = self._above(other)
      target.entries[new] = above.entries.pop(name)
    else:
      file = above.entries[name]
      assert isinstance(file, File), operation
      if kind == 'write':
        file.write(offset, data)
      else:
        assert kind == 'cut', kind
        file.cut(offset)

  def image(self, kind: Kind) -> dict[str, Content | None]:
    """The tree that a kill or a power cut leaves now."""
    tree: dict[str, Content | None] = {}

    def walk(folder: Folder, prefix: str) -> None:
      for name, entry in (folder.synced if kind == 'lost' else folder.entries).items():
        path = prefix + name
        if isinstance(entry, Folder):
          tree[path] = None
          walk(entry, path + '/')
        else:
          tree[path] = entry.content(kind)

    walk(self._root, '')
    return tree

  def _find(self, path: str) -> File | Folder:
    if not path:
      return self._root
    above, name = self._above(path)
    return above.entries[name]

  def _above(self, path: str) -> tuple[Folder, str]:
    *folders, name = path.split('/')
    above = self._root
    for folder in folders:
      entry = above.entries[folder]
      assert isinstance(entry, Folder), path
      above = entry
    return above, name


class Image(NamedTuple):
  """A distinct tree.

  Attributes:
    at: number of operations before the kill or the cut.
    kind: which of both, and how bad.
    tree: what is left.
    seen: whether an earlier image differs from it only in steps that were never published.
  """

  at: int
  kind: Kind
  tree: Tree
  seen: bool


def images(operations: Iterable[Operation], start: Tree | None = None) -> Iterator[Image]:
  """Every tree that a kill or a power cut leaves before, between and after the operations, each once."""
  disk, known, shown = Disk(start), set[str](), set[str]()
  for at, operation in enumerate([None, *operations]):
    if operation is not None:
      disk.apply(operation)
      if operation.kind == 'mark':
        continue
    for kind in KINDS:
      found = disk.image(kind)
      whole = _signature(found)
      if whole in known:
        continue
      published = _signature({path: one for path, one in found.items() if _counts(path, found)})
      yield Image(at, kind, {p: None if c is None else c.data for p, c in found.items()}, published in shown)
      known.add(whole)
      shown.add(published)


def _counts(path: str, tree: Mapping[str, object]) -> bool:
  """False for what lies in the folder of a step without a manifest."""
  folder = re.match(r'checkpoints/step=\d+(?=/|$)', path)
  return folder is None or f'{folder[0]}/manifest.json' in tree


def _signature(tree: Mapping[str, Content | None]) -> str:
  return '\n'.join(f'{path}\0{one.digest if one else "/"}' for path, one in sorted(tree.items()))


def load(folder: pathlib.Path) -> Tree:
  """A folder's tree."""
  return {
    str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob('*')
  }


def store(tree: Tree, folder: pathlib.Path) -> None:
  """Makes a tree below a new folder."""
  folder.mkdir(parents=True)
  for path, data in sorted(tree.items()):
    if data is None:
      (folder / path).mkdir()
    else:
      (folder / path).write_bytes(data)
