"""Judges: what an answer is worth, in words and on declared scales.

judge           the interface that offline and remote judges share
offline         the two programmatic judges, for tests and first runs
offline_text    checks of prose and tags
offline_visual  checks of pictures
matching        how well a call carries out one wanted picture
wording         words that count, and phrases that announce
"""
