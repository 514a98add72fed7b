"""Judges: what an answer is worth, in words and on declared scales.

judge           the interface that offline and remote judges share
remote          a chat model as judge, near or far
local           a model in this process as the one who answers
recorded        verdicts from the journal, the cache or the judge, in this order
pairwise        which of two answers is better, asked in both orders
prompt          judge prompts: files with places
verdict_form    the form of a verdict and its strict reading
views           how an answer looks to a judge
quoting         quoting what a model wrote so that it stays a quotation
gates           answers that need no judge to be bad
canaries        answers that must not be liked
panel           documents whose order is known
offline         the two programmatic judges, for tests and first runs
offline_text    checks of prose and tags
offline_visual  checks of pictures
matching        how well a call carries out one wanted picture
"""
