"""Lines for people. What others have written into them (prompts, names, answers) cannot steer the terminal."""

import re
import sys
from typing import TextIO

# C0, DEL and C1; line ends of other kinds; and marks that turn the direction of writing, which make text read as another.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(line: str) -> str:
    r"""The line with control characters written out, such as `\x1b`."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), line)


def say(*lines: str, to: TextIO | None = None) -> None:
    """Print whole lines, on standard output unless told otherwise."""
    print("\n".join(map(visible, lines)), file=to or sys.stdout)
