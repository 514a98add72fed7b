"""Words that count in a phrase, how far one text holds another's, and phrases that announce a picture."""

import re
import unicodedata

# Longer texts are read up to here: no answer can make its judging slow.
MOST_CHARACTERS = 20_000

_SILENT_TEXT = """
  a about all also an and any are as at be but by can do each for from get give has have how i if image images
  in into is it its make me more most my no nor not of off on one only onto or our out over own photo
  photograph photographs photos picture pictures please put real say show so some such take than that the
  their them then there these they this those to today too up us very view want was we what when where which
  while with write you your line bar pie chart histogram plot
"""
_SILENT = frozenset(_SILENT_TEXT.split())

_PICTURE = (
  r'(?:images?|pictures?|photos?|photographs?|figures?|charts?|plots?|graphs?|illustrations?|diagrams?)'
)
_ANNOUNCING = re.compile(
  rf"""
  \bhere(?:\s+(?:is|are)|'s|’s)\b
  | \b(?:below|above)\s+(?:is|are|you)\b
  | \b(?:following|accompanying|attached)\s+{_PICTURE}\b
  | \b(?:this|these|the)\s+{_PICTURE}\s+(?:below|above|shows?|depicts?|illustrates?|displays?)\b
  | \b(?:i|we|let\s+me)(?:\s+(?:will|shall|can|am\s+going\s+to)|'ll|’ll)?\s+
    (?:generate|create|draw|insert|add|search\s+for|attach)\b
  | \b(?:see|look\s+at)\s+(?:this|the)\s+{_PICTURE}\b
  | \bas\s+(?:shown|seen)\s+(?:below|above|in\s+the\s+{_PICTURE})
  """,
  re.IGNORECASE | re.VERBOSE,
)


def words(text: str) -> list[str]:
  """The words of a text, folded: lower case, no accents, plural as singular."""
  plain = unicodedata.normalize('NFKD', text[:MOST_CHARACTERS].lower())
  return [_singular(word) for word in re.findall(r'[^\W_]+', plain)]


def content(text: str) -> set[str]:
  """The words that say what a text is about; all of them if none does."""
  found = set(words(text))
  return found - _SILENT or found


def recall(wanted: str, text: str) -> float:
  """The share of `wanted`'s content words that `text` holds; 0 where `wanted` has no words."""
  asked = content(wanted)
  return len(asked.intersection(words(text))) / len(asked) if asked else 0.0


def announcements(text: str) -> list[str]:
  """Phrases that announce a picture instead of letting it stand in the text."""
  return [match[0] for match in _ANNOUNCING.finditer(text[:MOST_CHARACTERS])]


def _singular(word: str) -> str:
  if len(word) > 4 and word.endswith('ies'):
    return word[:-3] + 'y'
  if len(word) > 3 and word.endswith('s') and not word.endswith(('ss', 'us', 'is')):
    return word[:-1]
  return word
