"""A run's state on disk: whole or absent, found to be what it was before anything trains on it.

checkpoints  saving in the background, restoring, pruning
manifest     what makes a step exist: hashes of its files, synced and published last
digest       what tells two states apart to the bit, whatever the layout of their arrays
peers        the other processes of a run: word from each of them in bounded time; notices of preemption
"""
