"""Checkpoints are whole or do not exist; damage is found and an older step is used."""

import errno
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from llmi_jax.checkpoint import manifest
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


def test_a_lost_tail_of_any_file_is_found_and_the_older_step_is_used(saved):
  checkpoints, folder = saved
  for path in [path for path in (folder / 'step=3').rglob('*') if path.is_file() and path.stat().st_size]:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = checkpoints.restore(abstract(_state(0)))
    assert found.step == 2 and str(path) in found.damaged[0], path
    path.write_bytes(whole)


def test_arrays_that_were_not_saved_are_found_although_their_files_are_sealed(saved):
  checkpoints, folder = saved
  shutil.rmtree(folder / 'step=3' / 'state')
  shutil.copytree(folder / 'step=2' / 'state', folder / 'step=3' / 'state')
  kept = manifest.read(folder / 'step=3')
  manifest.publish(
    folder / 'step=3', manifest.sync(folder / 'step=3', manifest.files(folder / 'step=3')), kept.about
  )
  found = checkpoints.restore(abstract(_state(0)))
  assert found.step == 2 and 'holds other arrays than were saved' in found.damaged[0]


def test_best_steps_are_kept_beside_the_newest_and_worse_ones_do_not_push_them_out(tmp_path):
  scores = {}
  ranking = lambda: sorted(scores, key=lambda step: -scores[step])
  checkpoints = Checkpoints(tmp_path, keep=1, best=1, ranking=ranking)
  for step, score in ((0, 9.0), (1, 0.2), (2, 0.8), (3, 0.1), (4, 0.7), (5, 0.9), (6, 0.3)):
    if step:
      checkpoints.save(step, _state(step), {})
      checkpoints.wait()
    scores[step] = score
  assert checkpoints.steps() == [5, 6]
  checkpoints.save(7, _state(7), {})
  checkpoints.wait()
  assert checkpoints.steps() == [5, 7]
  checkpoints.close()


def test_another_tokenizer_is_refused_and_who_does_not_care_is_not(tmp_path):
  made = Checkpoints(tmp_path, about={'tokenizer': 'a', 'training tasks': 'x'})
  made.save(1, _state(1), {})
  made.close()
  other = Checkpoints(tmp_path, about={'tokenizer': 'b', 'training tasks': 'x'})
  with pytest.raises(CheckpointError, match='made with another tokenizer; use another --workdir, or restore'):
    other.restore(abstract(_state(0)))
  other.close()
  reader = Checkpoints(tmp_path)
  assert reader.restore(abstract(_state(0))).step == 1
  reader.close()


def test_what_is_damaged_is_set_aside_and_pushes_no_whole_step_out(saved):
  _, folder = saved
  whole = (folder / 'step=3' / 'meta.json').read_bytes()
  (folder / 'step=3' / 'meta.json').write_bytes(whole[:-1])
  checkpoints = Checkpoints(folder, keep=1)
  assert checkpoints.restore(abstract(_state(0))).step == 2
  checkpoints.retire(2)
  assert checkpoints.steps() == [2] and (folder / 'step=3.damaged').is_dir()
  checkpoints.save(3, _state(30), {})
  checkpoints.close()
  assert [path.name for path in folder.iterdir()] == ['step=3']


def test_nothing_is_pruned_for_a_step_that_reads_back_otherwise(saved, monkeypatch):
  checkpoints, _ = saved
  fault = manifest.fault
  monkeypatch.setattr(
    manifest,
    'fault',
    lambda target, hashes, afresh=False: 'bits are gone' if afresh else fault(target, hashes),
  )
  checkpoints.save(4, _state(4), {})
  with pytest.raises(StorageError, match='bits are gone right after it was written'):
    checkpoints.wait()
  assert checkpoints.steps() == [2, 3]


def test_a_failed_save_is_told_by_the_next_look(saved, monkeypatch):
  checkpoints, _ = saved
  monkeypatch.setattr(manifest, 'publish', lambda *_: (_ for _ in ()).throw(OSError(5, 'Input/output error')))
  checkpoints.save(4, _state(4), {})
  until = time.monotonic() + 20
  with pytest.raises(StorageError, match='Input/output error'):
    while time.monotonic() < until:
      checkpoints.check()
  checkpoints.check()
  assert checkpoints.steps() == [2, 3]


def test_a_mesh_of_eight_is_restored_on_four_and_on_one(tmp_path):
  def placed(number, value):
    mesh = Mesh(np.array(jax.devices()[:number]), ('fsdp',))
    split = NamedSharding(mesh, PartitionSpec('fsdp'))
    return {'w': jax.device_put(jnp.arange(64.0).reshape(16, 4) * value, split)}

  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, placed(8, 3.0), {})
  checkpoints.wait()
  for number in (4, 1):
    found = checkpoints.restore(abstract(placed(number, 0.0))).state
    assert found['w'].sharding.device_set == set(jax.devices()[:number])
    np.testing.assert_array_equal(found['w'], placed(1, 3.0)['w'])
  checkpoints.close()
