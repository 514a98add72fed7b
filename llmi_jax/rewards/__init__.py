"""From an answer and its verdicts to the parts of a reward; `rl/gate` makes them one number.

rules   image-rule score, tag and tool rates: what is counted
parts   the three parts and the diagnostics, missing ones named
"""
