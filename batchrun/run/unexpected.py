"""An error that nobody has foreseen, met by one job: it is told, and the others go on (design, promise 8)."""

import traceback
from collections.abc import Callable
from pathlib import Path

from batchrun.run.events import Event, Kind
from batchrun.run.tools import Carried, Ending

UNEXPECTED = "unexpected"
"""The kind of it: a word for scripts."""
_SHOWN_CHARS = 200


async def set_aside(carried: Carried, error: Exception) -> Ending:
    """Leave the job to the next run, with its state and its money as they are.

    Where its submit may have left, that run finds it under way and looks for it at the provider, as after a kill.
    """
    tools, job = carried.tools, carried.job
    text = described(error, tools.http.without_key)
    what = (
        f"{job.batch}/{job.key}: {text}; it is left to the next run as it is. This is a mistake in batchrun: report it"
    )
    tools.observer(Event(Kind.NOTE, job.batch, job.key, what))
    await carried.put_off(UNEXPECTED, text, passes=False)
    return Ending.UNEXPECTED


def described(error: Exception, cleaned: Callable[[str], str]) -> str:
    """Kind and place of an error, and what it says, cleaned of secrets, as one short line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = "".join(char if char.isprintable() else " " for char in cleaned(str(error)))
    return f"unexpected {type(error).__name__}{place}: {said[:_SHOWN_CHARS]}"
