"""An error that nobody has foreseen, met by one job: it is told, and the others go on (design, promise 8)."""

from batchrun.run.events import Event, Kind
from batchrun.run.mistakes import REPORT_IT, described
from batchrun.run.tools import Carried, Ending

UNEXPECTED = "unexpected"
"""The kind of it: a word for scripts."""


async def set_aside(carried: Carried, error: Exception) -> Ending:
    """Leave the job for an hour, with its state and its money as they are; mostly that is for the next run.

    Where its submit may have left, its outcome is unknown by now (`buying`), and it is looked for at the provider.
    """
    tools, job = carried.tools, carried.job
    text = described(error, tools.http.without_key)
    what = f"{job.batch}/{job.key}: {text}; it is left as it is for now; {REPORT_IT}"
    tools.observer(Event(Kind.NOTE, job.batch, job.key, what))
    await carried.put_off(UNEXPECTED, text, passes=False)
    return Ending.UNEXPECTED
