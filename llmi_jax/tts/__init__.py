"""Test-time scaling: more compute at answer time for better answers, weights untouched.

| file | what |
|---|---|
| `settings.py` | what is done, how much of it, and what it may cost |
| `tree.py` | the immutable tree of revisions, with what became of each |
| `ledger.py` `kept.py` | who spent what in which stage, within limits; replies kept for a second run |
| `crew.py` | what stages are given: writer, selector, tools, polisher, repairer |
| `sample.py` `sift.py` `choose.py` `enhance.py` `polish.py` | the stages: each a function of a tree |
| `selectors.py` `listing.py` | scores, pairs, lists |
| `places.py` `options.py` `repair.py` | pictures in their places; other pictures for a place; code mended |
| `pipeline.py` | the stages in order, within limits, and `scaled`, which makes a `generate` of a `generate` |
| `record.py` `page.py` | the tree as parquet and JSON; as a page |

What no source states about LLM-I's own scaling is our choice: how many samples, the filter's criterion, each
tool's way, the polisher's task.
"""
