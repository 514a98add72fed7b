"""axe-core's audit of an open page."""

import importlib.resources

import pytest


def faults(page):
  """What axe-core finds that is critical or serious, as rule and element."""
  pytest.importorskip('axe_playwright_python')
  page.evaluate((importlib.resources.files('axe_playwright_python') / 'axe.min.js').read_text())
  found = page.evaluate('axe.run()')['violations']
  return [
    (rule['id'], node['html'][:120])
    for rule in found
    if rule['impact'] in ('critical', 'serious')
    for node in rule['nodes']
  ]
