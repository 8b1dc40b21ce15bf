"""An error that nobody has foreseen, in words for a person."""

import traceback
from collections.abc import Callable
from pathlib import Path

REPORT_IT = "this is a mistake in batchrun: report it"
_SHOWN_CHARS = 200


def described(error: Exception, cleaned: Callable[[str], str]) -> str:
    """Kind and place of an error, and what it says, cleaned of secrets, as one short line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = "".join(char if char.isprintable() else " " for char in cleaned(str(error)))
    return f"unexpected {type(error).__name__}{place}: {said[:_SHOWN_CHARS]}"
