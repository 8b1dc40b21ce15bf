"""Other ways to do the same work, each a program of its own: `python -m tests.bench.rivals.floor …` (see `terms`)."""
