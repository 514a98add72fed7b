import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.models.vision_layout import Windows, arrange, bucket, layout, token_rows

WINDOWS = Windows(side=8, merge=2)


@pytest.mark.parametrize('grid', [(1, 2, 2), (1, 8, 8), (1, 10, 6), (1, 2, 40), (1, 24, 16)])
def test_each_patch_has_a_slot_in_its_own_window(grid):
  _, height, width = grid
  found = layout(grid, WINDOWS)
  assert sorted(map(tuple, found.place)) == [(r, c) for r in range(height) for c in range(width)]
  assert len(set(found.patch_slots)) == height * width
  across = -(-width // 8)
  for slot, (row, column) in zip(found.patch_slots, found.place):
    assert slot // 64 == row // 8 * across + column // 8
  assert found.slots == across * -(-height // 8) * 64
  units = found.patch_slots.reshape(-1, 4)
  np.testing.assert_array_equal(units, units[:, :1] + np.arange(4))
  np.testing.assert_array_equal(units[:, 0] // 4, found.unit_slots)


def test_units_are_in_the_order_of_image_tokens():
  found = layout((1, 10, 6), WINDOWS)
  corners = found.place.reshape(-1, 4, 2)[:, 0]
  assert corners.tolist() == [[2 * r, 2 * c] for r in range(5) for c in range(3)]


def test_rows_follow_the_pictures_as_the_prompt_shows_them():
  small, large = (1, 2, 4), (1, 10, 8)
  rows = token_rows([(100, large), (0, small), (100, large)], WINDOWS)
  big = 100 + layout(large, WINDOWS).unit_slots
  np.testing.assert_array_equal(rows, [*big, *layout(small, WINDOWS).unit_slots, *big])
  assert token_rows([], WINDOWS).shape == (0,)


@pytest.mark.parametrize(
  ('grid', 'slots'),
  [((1, 2, 2), 256), ((1, 16, 16), 256), ((1, 18, 16), 1024), ((1, 2, 600), 16_384), ((1, 128, 128), 16_384)],
)
def test_the_smallest_bucket_that_holds_the_windows_is_taken(grid, slots):
  assert bucket(grid, WINDOWS) == slots


def test_a_picture_too_large_names_both_numbers():
  with pytest.raises(DataError, match=r'17408 slots.*16384; lower max_pixels'):
    bucket((1, 130, 128), WINDOWS)


def test_buckets_of_broken_windows_are_refused():
  with pytest.raises(ConfigError, match=r'100 slots.*64'):
    bucket((1, 2, 2), WINDOWS, (100, 1000))


@pytest.mark.parametrize('grid', [(2, 4, 4), (1, 3, 4), (1, 4, 5), (1, 0, 4)])
def test_a_grid_that_is_no_picture_is_named(grid):
  with pytest.raises(DataError, match='×'.join(map(str, grid))):
    layout(grid, WINDOWS)


def test_patches_that_do_not_fit_their_grid_name_both_numbers():
  with pytest.raises(DataError, match=r'15 patches.*16'):
    arrange([(np.zeros((15, 12), np.float32), (1, 4, 4))], WINDOWS, slots=256)


def test_a_picture_that_does_not_fit_its_bucket_names_both_numbers():
  with pytest.raises(DataError, match=r'128 slots.*64'):
    arrange([(np.zeros((20, 12), np.float32), (1, 2, 10))], WINDOWS, slots=64)


def test_windows_that_cut_units_are_refused():
  with pytest.raises(ConfigError, match=r'5 patches.*units of 2'):
    Windows(side=5, merge=2)
