"""ISG-Bench (arXiv 2411.17188): four levels of judging answers that have a prescribed structure."""
