"""Names of slices, and what is said of those that are none."""

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.planning import hardware, topology


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('v5p', 'is no slice; write CHIP:SHAPE'),
    ('v5p:4×4', 'is no slice'),
    ('v9:4x4', "Nothing is known of the chip 'v9'; known are v5e"),
    ('v5p:3x4x4', 'There is no slice v5p:3x4x4; of v5p there are 2x2x1'),
    ('cpu:2x2', 'is no number of devices; write cpu:8'),
    ('cpu:0', 'is no number of devices'),
    ('cpu:99', 'asks for 99 devices and this process has 8'),
  ],
)
def test_what_is_no_slice_is_told(name, words):
  with pytest.raises(ConfigError, match=words):
    topology.find(name)


def test_host_devices_stand_for_others():
  found = topology.find('h200:4')
  assert (len(found.devices), found.processes, found.exact) == (4, 1, False)
  assert found.chip.memory == 141e9 and topology.find('cpu:8').exact


def test_without_libtpu_one_sentence_says_what_to_install(monkeypatch):
  monkeypatch.setattr(topology.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ConfigError, match='pip install libtpu'):
    topology.find('v5p:2x2x1')


def test_every_slice_is_listed():
  words = hardware.known()
  assert all(f'{chip.name}:{shape}' in words for chip in hardware.CHIPS.values() for shape in chip.shapes)
  assert 'v5p:4x4x4' in words and 'cpu:N' in words


def test_libtpu_makes_a_slice_that_is_not_there():
  pytest.importorskip('libtpu', reason='the compiler for TPUs is not installed')
  found = topology.find('v5p:2x2x2')
  assert (len(found.devices), found.processes, found.exact) == (8, 2, True)
  assert found.devices[0].platform == 'tpu'
