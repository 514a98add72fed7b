"""Model-written code, run where it can reach nothing: the host's side, and in `guest/` the inside."""
