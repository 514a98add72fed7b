"""Benchmarks: records in, answers judged, tables and pages out.

| file | what |
|---|---|
| `record.py` | a benchmark's record, what is wrong with one, what judging made of it, what a benchmark is |
| `lines.py` `pictures.py` | JSON files read record by record; pictures found beside them |
| `foreign.py` | answers that other programs wrote |
| `calls.py` `forms.py` `framing.py` `official.py` | what judges are asked, and how they are read |
| `store.py` | what an evaluation knows so far, on disk |
| `harness.py` `estimate.py` | the run; its cost before it |
| `numbers.py` `table.py` `compare.py` `page.py` | means with intervals; tables; two runs; pages |
| `opening/` `isg/` `llmi_bench/` `in_domain.py` | the benchmarks |

Every benchmark has two modes. `repo` does what the reference's code does, known defects included; `fixed`
mends them. Figures of the two never stand in one table.
"""
