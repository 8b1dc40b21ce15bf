"""The real command with a lease of seconds: what a frozen process loses after a minute is lost sooner.

The proportions stay: a lease outlives the time in which a submit may leave.
"""

from batchrun.cli.main import entry
from batchrun.queue import store
from batchrun.run import pool, session

LEASE_MS = 3000
SEND_WITHIN_S = 1.0

if __name__ == "__main__":
    store.LEASE_MS = pool.LEASE_MS = LEASE_MS
    session.SEND_WITHIN_S = SEND_WITHIN_S
    entry()
