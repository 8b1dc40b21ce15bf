"""`python -m batchrun` is the console script."""

from batchrun.cli.main import entry

if __name__ == "__main__":
    entry()
