"""The largest number that passes, in few tries."""

import pytest

from llmi_jax.planning.search import largest


@pytest.mark.parametrize('most', [1, 2, 7, 32])
@pytest.mark.parametrize('first', [0, 1, 4, 99])
def test_it_is_found_and_nothing_is_asked_twice(most, first):
  for limit in range(most + 2):
    asked = []
    passes = lambda n, asked=asked, limit=limit: asked.append(n) or n <= limit
    assert largest(passes, most, first) == min(limit, most)
    assert len(set(asked)) == len(asked) <= 11 and all(1 <= n <= most for n in asked)


def test_what_fits_at_once_takes_one_try():
  asked = []
  assert largest(lambda n: asked.append(n) is None, 8, 8) == 8 and asked == [8]
