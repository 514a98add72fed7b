"""The largest number that passes, with few tries: each is a compilation."""

from collections.abc import Callable


def largest(passes: Callable[[int], bool], most: int, first: int = 1) -> int:
  """The largest of 1 … `most` that passes, 0 if none does.

  Whatever is smaller than a number that passes is taken to pass, too. Doubles or halves from `first` on, then
  bisects.

  Args:
    passes: is asked once for a number.
    most: 1 or more.
    first: where to begin.
  """
  good, bad = 0, most + 1
  guess = min(max(first, 1), most)
  while bad - good > 1:
    if passes(guess):
      good = guess
      guess = min(2 * guess, most) if bad > most else (good + bad) // 2
    else:
      bad = guess
      guess = guess // 2 if not good else (good + bad) // 2
    guess = min(max(guess, good + 1), bad - 1)
  return good
