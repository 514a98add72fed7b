"""Settings of every tool provider, for configs to pick from:

    config.tools.names = ('search', 'code', 'edit', 'diffusion', 'docs/own_tool/qr_code.py')
    config.tools.search = tools.commons()
    config.tools.diffusion = tools.image_api('https://api.example.com/v1', 'seedream-4', 'ARK_API_KEY')

Keys are never written here: `key_env` names the environment variable that holds one. `limit` is what a
provider is asked to bear: calls at once, seconds for each (waiting excluded), calls started per minute (0: no
limit).
"""

from ml_collections import ConfigDict


def limit(concurrency=8, seconds=60.0, per_minute=0):
  """What a provider is asked to bear."""
  config = ConfigDict()
  config.concurrency = concurrency  # calls at once
  config.seconds = seconds  # per call, waiting excluded
  config.per_minute = per_minute  # calls started; 0: no limit
  return config


def commons():
  """Photographs of Wikimedia Commons; no key."""
  return ConfigDict({'provider': 'commons', 'limit': limit(4, 30.0)})


def openverse():
  """Photographs found by Openverse; no key, but few calls a minute without one."""
  return ConfigDict({'provider': 'openverse', 'limit': limit(2, 30.0, 20)})


def keyed_search(provider, key_env, engine=''):
  """`serpapi` (Google Images), `google` (Programmable Search, with the id of an engine) or `brave`."""
  config = ConfigDict({'provider': provider, 'key_env': key_env, 'limit': limit(8, 30.0, 60)})
  config.engine = engine  # id of a Programmable Search Engine, for google
  return config


def image_api(url, model, key_env='', **wanted):
  """Diffusion or edit behind OpenAI's images protocol; `wanted` as in llmi_jax/tools/image_api.py."""
  return ConfigDict(
    {
      'provider': 'image_api',
      'urls': (url,),
      'key_env': key_env,
      'wanted': {'model': model, **wanted},
      'limit': limit(8, 120.0),
    }
  )


def qwen_image(*urls, **wanted):
  """Diffusion or edit behind servers of Qwen-Image(-Edit); `wanted` as in llmi_jax/tools/qwen_image.py."""
  return ConfigDict(
    {'provider': 'qwen_image', 'urls': urls, 'wanted': wanted, 'limit': limit(2 * len(urls), 300.0)}
  )


def diffusers(path, **wanted):
  """Diffusion or edit by a local pipeline; `wanted` as in llmi_jax/tools/pipeline.py."""
  return ConfigDict({'provider': 'diffusers', 'wanted': {'path': path, **wanted}, 'limit': limit(64, 600.0)})


def served(*urls, key_env=''):
  """Any tool that `python -m llmi_jax.serve.tools` offers elsewhere."""
  return ConfigDict({'provider': 'served', 'urls': urls, 'key_env': key_env, 'limit': limit(64, 600.0)})


def sandboxfusion(*urls):
  """The code tool on SandboxFusion servers."""
  figures = {'width': 6.4, 'height': 4.8, 'dpi': 100.0, 'font_size': 10.0, 'tight': True}
  own = {'provider': 'sandboxfusion', 'urls': urls, 'workers': 8, 'seconds': 10.0, 'limit': limit(8, 60.0)}
  return ConfigDict(figures | own)


def painter(batch=1):
  """The built-in text-to-image model; larger batches pay on accelerators."""
  config = ConfigDict()
  config.provider = 'painter'  # who serves the tool; configs/tools.py has all
  config.batch = batch  # pictures painted together
  return config
