"""Views of a run besides its own files. None can stop it: the first failure is told, and the sink is shut.

sink    what a sink is told, and those of a run together
board   TensorBoard: scalars, texts, pictures
events  the form of its files
trace   a timeline that Perfetto opens
online  W&B and trackio, where they are named
"""
