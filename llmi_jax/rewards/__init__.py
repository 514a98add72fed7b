"""From an answer and its verdicts to the parts of a reward; `rl/gate` makes them one number.

facts       what a reward reads of an answer
rules       image-rule score, tag and tool rates: what is counted
hygiene     manners of text
parts       the three parts, further terms and diagnostics, missing ones named
presets     the paper's reward, the released one, and free ones
audit       signs that a policy games its reward
injection   words in an answer that are addressed to its judge
similarity  answers that are nearly the same
"""
