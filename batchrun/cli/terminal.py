"""Lines for people. What others have written into them (prompts, names, answers) cannot steer the terminal."""

import json
import re
import sys
from typing import TextIO

# C0, DEL and C1; line ends of other kinds; and marks that turn the direction of writing, which make text read as another.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(line: str) -> str:
    r"""The line with control characters written out, such as `\x1b`."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), line)


def json_text(value: object, *, indent: int | None = 2) -> str:
    """JSON for standard output: as it reads best, or in escapes where that cannot be written, such as names not in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")  # strictly, whatever standard output does with it
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def say(*lines: str, to: TextIO | None = None) -> None:
    """Print whole lines, on standard output unless told otherwise."""
    print("\n".join(map(visible, lines)), file=to or sys.stdout)
