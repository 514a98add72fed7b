from llmi_jax.data import photographs


def test_at_least_fifteen_pictures_each_with_licence_author_and_words():
  loaded = photographs.load()
  assert len(loaded) >= 15
  assert len({p.image.sha256 for p in loaded}) == len({p.name for p in loaded}) == len(loaded)
  for photograph in loaded:
    credit = photograph.attribution
    assert credit.licence in {'CC0 1.0', 'public domain', 'CC BY 2.0'}
    assert credit.author and credit.title and credit.page.startswith('http')
    assert len(photograph.caption.split()) >= 8
    assert max(photograph.image.width, photograph.image.height) <= photographs.MAX_SIDE


def test_credits_name_every_picture():
  table = photographs.credits()
  for entry in photographs.ENTRIES:
    assert entry.author in table and entry.licence in table and entry.page in table
