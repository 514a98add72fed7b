"""What an evaluation knows so far: one SQLite file, of which nothing is held in memory.

It keeps what judges replied, what was answered, what became of each item, and a thumbnail of each picture.
Whatever was kept is there after a kill; the same command goes on from it and calls nobody twice.
"""

import concurrent.futures
import contextlib
import json
import pathlib
import queue
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError, DataError, StorageError
from llmi_jax.core.image import Image
from llmi_jax.eval.calls import Said
from llmi_jax.eval.record import Judged
from llmi_jax.services import images, records, storage

NAME = 'evaluation.sqlite'
SIDE = 384  # pixels of a thumbnail's longer side
_BATCH = 256  # writes of one commit
_Order = tuple[concurrent.futures.Future[None], str, tuple[Any, ...]]
_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (number INTEGER PRIMARY KEY, id TEXT UNIQUE, judged TEXT, shown TEXT);
CREATE TABLE IF NOT EXISTS thumbnails (sha256 TEXT PRIMARY KEY, webp BLOB NOT NULL) WITHOUT ROWID;
"""


class Store:
  """The file. Safe for several threads of one process; a second process is refused."""

  def __init__(self, workdir: str | pathlib.Path, read_only: bool = False):
    """Opens or makes it.

    Args:
      workdir: of the evaluation; originals of generated pictures go to `images/` in it.
      read_only: for looking at a finished one.

    Raises:
      ConfigError: there is none to look at, or another process uses it.
      StorageError: it cannot be made.
    """
    self.folder = pathlib.Path(workdir)
    self._path = self.folder / NAME
    self._lock = threading.RLock()
    if read_only and not self._path.is_file():
      raise ConfigError(f'{self.folder} holds no evaluation; give the --workdir of one.')
    with storage.storing(self._path):
      self.folder.mkdir(parents=True, exist_ok=True)
    with self._guarded():
      self._db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=2)
      if not read_only:
        self._db.execute('PRAGMA locking_mode=EXCLUSIVE')
        # WAL in exclusive mode needs no shared memory, so that it works on network file systems, too.
        self._db.execute('PRAGMA journal_mode=WAL')
        self._db.execute('PRAGMA synchronous=FULL')
        self._db.executescript(_TABLES)
        self._pictures = storage.PictureFolder(self.folder / 'images')
    self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
    self._writer = threading.Thread(target=self._write, name='evaluation', daemon=True)
    self._writer.start()

  def close(self) -> None:
    """Waits for the writer and closes the file."""
    self._orders.put(None)
    self._writer.join()
    self._db.close()

  def settings(self) -> dict[str, Any]:
    """What the evaluation was begun with; empty for a new one."""
    return {name: json.loads(value) for name, value in self._all('SELECT name, value FROM settings')}

  def keep_settings(self, values: dict[str, Any]) -> None:
    """Says what the evaluation is begun with."""
    rows = [(name, json.dumps(value)) for name, value in values.items()]
    with self._guarded():
      self._db.execute('BEGIN')
      self._db.executemany('INSERT OR REPLACE INTO settings VALUES (?, ?)', rows)
      self._db.execute('COMMIT')

  def reply(self, key: str) -> Said | None:
    """What a judge said to a question of this key."""
    found = self._one('SELECT value FROM replies WHERE key = ?', key)
    return None if found is None else records.decode(Said, json.loads(found[0]), _no_picture)

  def keep_reply(self, key: str, said: Said) -> None:
    """Returns once it is on disk to stay."""
    self._put('INSERT OR REPLACE INTO replies VALUES (?, ?)', key, _text(said))

  def answer(self, id: str) -> Answer | None:
    """The answer generated for a record."""
    found = self._one('SELECT value FROM answers WHERE id = ?', id)
    return None if found is None else records.decode(Answer, json.loads(found[0]), self._pictures.get)

  def keep_answer(self, id: str, answer: Answer) -> None:
    """Returns once it and its pictures are on disk to stay."""
    self._pictures.put(records.pictures(answer))
    self._put('INSERT OR REPLACE INTO answers VALUES (?, ?)', id, _text(answer))

  def done(self, id: str) -> bool:
    """Whether an item is judged."""
    return self._one('SELECT 1 FROM items WHERE id = ?', id) is not None

  def keep_item(self, number: int, judged: Judged, shown: Any) -> None:
    """Keeps what became of an item.

    Args:
      number: its place in the records' order.
      judged: what judging made of it.
      shown: what pages show of it; see `page.Shown`.
    """
    self._put(
      'INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)', number, judged.id, _text(judged), _text(shown)
    )

  def items(self) -> Iterator[Judged]:
    """Judged items, in order, one at a time."""
    for _, judged in self._paged('SELECT number, judged FROM items'):
      yield records.decode(Judged, json.loads(judged), _no_picture)

  def shown(self, kind: Any) -> Iterator[tuple[Judged, Any]]:
    """Judged items with what pages show of them, in order, one at a time."""
    for _, judged, shown in self._paged('SELECT number, judged, shown FROM items'):
      yield (
        records.decode(Judged, json.loads(judged), _no_picture),
        records.decode(kind, json.loads(shown), _no_picture),
      )

  def forget_failures(self) -> int:
    """Drops what the environment failed, so that it is asked for anew; how many items that are."""
    failed = [
      item.id for item in self.items() if item.lost or any(value.kind == 'missing' for value in item.values)
    ]
    lost = [item.id for item in self.items() if item.lost]
    with self._guarded():
      self._db.execute('BEGIN')
      self._db.executemany('DELETE FROM items WHERE id = ?', [(id,) for id in failed])
      self._db.executemany('DELETE FROM answers WHERE id = ?', [(id,) for id in lost])
      self._db.execute("DELETE FROM replies WHERE json_extract(value, '$.missing') != ''")
      self._db.execute('COMMIT')
    return len(failed)

  def counts(self) -> dict[str, int]:
    """Rows by table."""
    names = ('replies', 'answers', 'items', 'thumbnails')
    return {name: self._all(f'SELECT COUNT(*) FROM {name}')[0][0] for name in names}

  def keep_thumbnails(self, pictures: list[Image]) -> None:
    """Makes and keeps thumbnails of pictures that have none yet."""
    known = 'SELECT 1 FROM thumbnails WHERE sha256 = ?'
    new = {image.sha256: image for image in pictures if self._one(known, image.sha256) is None}
    orders = [
      self._order('INSERT OR IGNORE INTO thumbnails VALUES (?, ?)', key, images.thumbnail(image, SIDE))
      for key, image in new.items()
    ]
    for order in orders:
      order.result()

  def thumbnail(self, sha256: str) -> bytes:
    """A picture's thumbnail as WebP.

    Raises:
      DataError: there is none.
    """
    found = self._one('SELECT webp FROM thumbnails WHERE sha256 = ?', sha256)
    if found is None:
      raise DataError(f'The picture {sha256[:16]} has no thumbnail.')
    return found[0]

  def _paged(self, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows in order of their number, a few at a time, so that others may write in between."""
    last = -1
    while rows := self._all(f'{query} WHERE number > ? ORDER BY number LIMIT 64', last):
      yield from rows
      last = rows[-1][0]

  def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with self._guarded():
      return self._db.execute(query, values).fetchall()

  def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
    with self._guarded():
      return self._db.execute(query, values).fetchone()

  def _put(self, query: str, *values: Any) -> None:
    self._order(query, *values).result()

  def _order(self, query: str, *values: Any) -> concurrent.futures.Future[None]:
    """Done once it is on disk to stay; what is put at the same time shares one commit."""
    done: concurrent.futures.Future[None] = concurrent.futures.Future()
    self._orders.put((done, query, values))
    return done

  def _write(self) -> None:
    """The writer thread."""
    while (order := self._orders.get()) is not None:
      batch = [order]
      while len(batch) < _BATCH and not self._orders.empty() and (order := self._orders.get()) is not None:
        batch.append(order)
      try:
        with self._guarded():
          self._db.execute('BEGIN')
          for _, query, values in batch:
            self._db.execute(query, values)
          self._db.execute('COMMIT')
      except (ConfigError, StorageError) as error:
        if self._db.in_transaction:
          self._db.execute('ROLLBACK')
        for done, _, _ in batch:
          done.set_exception(error)
      else:
        for done, _, _ in batch:
          done.set_result(None)
      if order is None:
        return

  @contextlib.contextmanager
  def _guarded(self) -> Iterator[None]:
    """One thread at a time; SQLite's complaints become ours."""
    with self._lock:
      try:
        yield
      except sqlite3.OperationalError as error:
        if 'locked' in str(error):
          raise ConfigError(
            f'{self._path} is used by another process; wait for it, or choose another --workdir.'
          ) from error
        raise StorageError(f'{self._path} cannot be written ({error}); check the disk.') from error
      except sqlite3.DatabaseError as error:
        raise StorageError(f'{self._path} is damaged ({error}); remove it to evaluate anew.') from error


def _text(record: Any) -> str:
  return json.dumps(records.encode(record), separators=(',', ':'))


def _no_picture(sha256: str) -> bytes:
  raise DataError(f'The picture {sha256[:16]} is not expected here.')
