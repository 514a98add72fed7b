"""Checkpoints are whole or do not exist; damage is found and an older step is used."""

import errno

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.checkpoint.checkpoints import Checkpoints, abstract
from llmi_jax.checkpoint.digest import digest
from llmi_jax.core.errors import CheckpointError, StorageError
from llmi_jax.services import storage


def _state(value):
  return {'w': jnp.full((4, 3), value, jnp.float32), 'step': jnp.asarray(int(value), jnp.int32)}


@pytest.fixture
def saved(tmp_path):
  checkpoints = Checkpoints(tmp_path / 'checkpoints', keep=2)
  for step in (1, 2, 3):
    checkpoints.save(step, _state(step), {'seconds': step})
  checkpoints.wait()
  yield checkpoints, tmp_path / 'checkpoints'
  checkpoints.close()


def test_newest_is_restored_to_the_bit_and_older_ones_are_pruned(saved):
  checkpoints, folder = saved
  found = checkpoints.restore(abstract(_state(0)))
  assert (found.step, found.meta['seconds'], checkpoints.steps()) == (3, 3, [2, 3])
  assert digest(found.state) == digest(_state(3)) != digest(_state(2))
  assert sorted(path.name for path in folder.iterdir()) == ['step=2', 'step=3']


def test_a_flipped_byte_in_any_file_is_found_and_the_older_step_is_used(saved):
  checkpoints, folder = saved
  files = [path for path in (folder / 'step=3').rglob('*') if path.is_file() and path.stat().st_size]
  assert len(files) > 4
  for path in files:
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    found = checkpoints.restore(abstract(_state(0)))
    assert found.step == 2 and len(found.damaged) == 1, path
    path.write_bytes(whole)
  assert checkpoints.restore(abstract(_state(0))).step == 3


def test_a_step_without_its_manifest_does_not_exist(saved):
  checkpoints, folder = saved
  (folder / 'step=3' / 'manifest.json').unlink()
  assert checkpoints.steps() == [2]


def test_when_nothing_is_whole_it_says_so(saved):
  checkpoints, folder = saved
  for step in (2, 3):
    (folder / f'step={step}' / 'meta.json').write_text('{"meta": {}}')
  with pytest.raises(CheckpointError, match='is corrupt and no older checkpoint is whole'):
    checkpoints.restore(abstract(_state(0)))


def test_other_shapes_are_refused(saved):
  wrong = {'w': jnp.zeros((5, 3)), 'step': jnp.asarray(0, jnp.int32)}
  with pytest.raises(CheckpointError, match=r"'w'.* is float32\[4, 3\] and should be float32\[5, 3\]"):
    saved[0].restore(abstract(wrong))


def test_state_may_be_donated_once_save_returns(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  change = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  state = _state(5)
  checkpoints.save(5, state, {})
  for _ in range(20):
    state = change(state)
  found = checkpoints.restore(abstract(_state(0))) if not checkpoints.wait() else None
  np.testing.assert_array_equal(found.state['w'], np.full((4, 3), 5, np.float32))
  checkpoints.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  checkpoints = Checkpoints(tmp_path / 'file')
  with pytest.raises(StorageError, match='cannot be written'):
    checkpoints.save(1, _state(1), {})
  checkpoints.close()


def test_no_space_while_saving_fails_loudly_and_leaves_the_older_step(saved, monkeypatch):
  checkpoints, _ = saved
  write = storage.write

  def full(path, data):
    if path.name == 'manifest.json':
      with storage.storing(path):
        raise OSError(errno.ENOSPC, 'No space left on device')
    write(path, data)

  monkeypatch.setattr(storage, 'write', full)
  checkpoints.save(4, _state(4), {})
  with pytest.raises(StorageError, match='No space left on device'):
    checkpoints.wait()
  assert checkpoints.restore(abstract(_state(0))).step == 3
