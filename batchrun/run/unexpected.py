"""An error that nobody has foreseen, met by one job: it is told, and the others go on (design, promise 8)."""

from batchrun.run.events import Event, Kind
from batchrun.run.mistakes import REPORT_IT, described
from batchrun.run.tools import Carried, Ending

UNEXPECTED = "unexpected"
"""The kind of it: a word for scripts."""


async def set_aside(carried: Carried, error: Exception) -> Ending:
    """Leave the job to the next run, with its state and its money as they are.

    Where its submit may have left, that run finds it under way and looks for it at the provider, as after a kill.
    """
    tools, job = carried.tools, carried.job
    text = described(error, tools.http.without_key)
    what = f"{job.batch}/{job.key}: {text}; it is left to the next run as it is; {REPORT_IT}"
    tools.observer(Event(Kind.NOTE, job.batch, job.key, what))
    await carried.put_off(UNEXPECTED, text, passes=False)
    return Ending.UNEXPECTED
