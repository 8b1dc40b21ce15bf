"""`python -m tests.proof NAME …`: one proof by hand."""

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent


def proofs() -> list[str]:
    """Every module here that can be run."""
    return sorted(path.stem for path in HERE.glob("*.py") if "\ndef main(" in path.read_text("utf-8"))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in proofs():
        sys.exit(f"usage: python -m tests.proof NAME …   with one of: {', '.join(proofs())}")
    sys.exit(import_module(f"tests.proof.{sys.argv[1]}").main(sys.argv[2:]))
