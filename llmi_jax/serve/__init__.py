"""Entry points that offer parts of a run over HTTP."""
