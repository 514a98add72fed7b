"""Where what runs share is kept."""

from llmi_jax.services import home


def test_the_users_cache_is_where_the_environment_says(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  for told in ('', 'relative'):
    monkeypatch.setenv('XDG_CACHE_HOME', told)
    assert home.cache('xla') == tmp_path / '.cache' / 'llmi_jax' / 'xla'
  monkeypatch.setenv('XDG_CACHE_HOME', '/fast')
  assert str(home.cache('xla')) == '/fast/llmi_jax/xla'
