"""The viewer over HTTP: what it gives out, under which headers, and what it refuses."""

import json
import re
import subprocess
import sys
from urllib.parse import urlencode

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.data import rollouts
from llmi_jax.services.ports import listen
from llmi_jax.view.index import Index, runs
from tests.view.conftest import get, serving


@pytest.fixture(scope='module')
def index(two):
  return Index(runs(two))


@pytest.fixture(scope='module')
def address(index):
  with serving(index) as found:
    yield found


def test_pages_come_under_a_policy_that_lets_nothing_else_in(address):
  for path in ('/', '/?q=heron&sort=-reward', '/compare', '/?open=herons/none'):
    status, headers, body = get(address + path)
    policy = headers['Content-Security-Policy']
    assert status == 200 and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "connect-src 'self'" in policy and 'unsafe' not in policy
    assert headers['X-Content-Type-Options'] == 'nosniff' and headers['Cache-Control'] == 'no-store'
    assert b'http://' not in re.sub(
      rb'href="https?://[^"]*"|<script>.*?</script>', b'', body, flags=re.DOTALL
    )


def test_only_this_machine_under_its_own_name_is_served(address):
  assert get(address, Host='evil.example')[0] == 400
  assert get(address, Host='localhost')[0] == 200


def test_pictures_come_in_both_sizes(address, index, two):
  row = next(r for r in range(index.table.num_rows) if index.table['picture'][r].as_py())
  run, sha256 = index.table['run'][row].as_py(), index.table['picture'][row].as_py()
  status, headers, body = get(f'{address}/picture/{run}/{sha256}')
  assert status == 200 and body == (two[0].parent / run / 'images' / f'{sha256}.png').read_bytes()
  assert headers['Content-Type'] == 'image/png' and 'sandbox' in headers['Content-Security-Policy']
  status, headers, body = get(f'{address}/thumbnail/{run}/{sha256}')
  assert status == 200 and body[8:12] == b'WEBP' and 'immutable' in headers['Cache-Control']


@pytest.mark.parametrize(
  'path',
  ['picture/herons/..%2f..%2fconfig.json', 'picture/no/' + 'a' * 64, 'thumbnail/herons/' + 'a' * 64, 'x'],
)
def test_what_is_no_picture_is_not_found(address, path):
  assert get(f'{address}/{path}')[0] == 404


def test_a_name_opens_its_rollout_and_all_of_it_as_json(address, two):
  one = next(rollouts.read(two[0] / 'rollouts/train'))
  html = get(f'{address}/?open=herons/{one.id}')[2].decode()
  assert f'id="herons/{one.id}"' in html and 'as stored' in html
  assert get(f'{address}/rollout/herons/{one.id}')[2].decode().count('as stored') == 1
  told = json.loads(get(f'{address}/raw?open=herons/{one.id}')[2])
  assert told['completion'] == one.completion and told['tokens'] == one.tokens.tolist()
  assert get(f'{address}/raw?open=herons/9/none/0')[0] == 404
  assert 'There is no rollout herons/9/none/0' in get(f'{address}/?open=herons/9/none/0')[2].decode()


def test_group_and_comparison_are_linked(address, two):
  one = next(rollouts.read(two[0] / 'rollouts/train'))
  html = get(f'{address}/?kind=train&open=herons/{one.id}')[2].decode()
  siblings = re.findall(r'<a href="([^"]+)" data-go data-n', html)
  assert len(siblings) == 4 and all('kind=train' in s for s in siblings)
  assert 'egrets@8' in get(f'{address}/compare')[2].decode()


def test_a_broken_file_is_named_on_the_page(make, tmp_path):
  make.run(tmp_path / 'run', steps=4)
  index = Index(runs([tmp_path / 'run']))
  with serving(index) as address:
    (tmp_path / 'run/rollouts/train/step=1/proc=0.parquet').write_bytes(b'PAR1 no')
    status, _, body = get(address)
    assert status == 500 and b'step=1/proc=0.parquet cannot be read' in body
    (tmp_path / 'run/rollouts/train/step=1/proc=0.parquet').unlink()
    assert get(address)[0] == 200


def test_five_megabytes_are_cut_with_a_word_on_the_page_and_whole_as_json(attacked):
  index = Index(runs([attacked]))
  row = max(range(index.table.num_rows), key=lambda r: len(index.table['text'][r].as_py()))
  about = index.about(row)
  fields = urlencode({'open': f'{about["run"]}/{about["id"]}', 'of': about['kind']})
  with serving(index) as address:
    body = get(f'{address}/?{fields}')[2]
    assert len(body) < 4 << 20 and b'of 5,000,000 characters are shown' in body
    told = json.loads(get(f'{address}/raw?{fields}')[2])
    assert 'x' * 5_000_000 in told['completion']


def test_a_taken_port_is_one_sentence():
  with listen(0) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(
      ConfigError, match=f'Port {port} of 127.0.0.1 cannot be listened on .Address already in use'
    ):
      listen(port)
  with pytest.raises(ConfigError, match=r'Port 99999 of .* cannot be listened on'):
    listen(99_999)


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'llmi_jax.view', str(tmp_path / 'nothing')],
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2 and done.stdout == ''
  (line,) = done.stderr.strip().splitlines()
  assert line.startswith('Error:') and line.endswith('has no folder rollouts; name the work folder of a run.')
