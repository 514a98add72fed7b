"""The built-in tasks: words, topics of each split, families of requests, the generator."""
