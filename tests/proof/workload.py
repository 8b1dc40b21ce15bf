"""Every kind of transaction that a run writes, in an order drawn by chance, through the queue's own door."""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchrun.queue.answers import RefundSeen
from batchrun.queue.records import Attempt, Job, Started, SubmitRequest, Upload
from batchrun.queue.states import AttemptState
from batchrun.queue.store import Queue
from tests.clocks import StillClock
from tests.store.stores import PACE, batch, budget, request, spec, take_in

_JOBS = 24
_STEPS = 12
_BUDGET = 4_000_000
_DIGEST = hashlib.sha256(b"a clip").hexdigest()


@dataclass
class Workload:
    """One run that works on one batch a round."""

    queue: Queue
    clock: StillClock
    folder: Path
    chance: random.Random
    rounds: int = 0

    async def begin(self) -> None:
        (self.folder / "out").mkdir()
        await self.queue.start_run()

    async def go_on(self) -> None:
        """A new batch, read again in the middle with other prompts."""
        self.rounds += 1
        name = f"shop-{self.rounds}"
        keys = [f"{name}-{number}" for number in range(_JOBS)]
        scope = await take_in(self.queue, batch(self.folder, [spec(key, self.folder) for key in keys], name))
        for step in range(_STEPS):
            self.clock.advance(self.chance.uniform(0, 15))
            if step == _STEPS // 2:
                changed = set(self.chance.sample(keys, _JOBS // 3))
                specs = [spec(key, self.folder, prompt="y" if key in changed else "x") for key in keys]
                await take_in(self.queue, batch(self.folder, specs, name))
            await self._buy(await self.queue.claim_queued([scope], self.chance.randint(1, 6)))
            await self.queue.renew_run()

    async def _buy(self, jobs: Sequence[Job]) -> None:
        wishes = [replace(request(job, budget(job, _BUDGET)), image_url=f"https://x/{job.key}") for job in jobs]
        for job, wish in zip(jobs, wishes, strict=True):
            await self.queue.record_upload(
                job, Upload(attempt_id=wish.attempt_id, url=wish.image_url, uploaded_ms=self.clock.now_ms())
            )
        decisions = await self.queue.begin_submits(wishes, PACE) if wishes else []
        fates = [random.Random(self.chance.getrandbits(60)) for _ in jobs]
        await asyncio.gather(
            *(
                self._carry(job, wish, fate) if isinstance(decision, Started) else self.queue.release(job)
                for job, wish, decision, fate in zip(jobs, wishes, decisions, fates, strict=True)
            )
        )

    async def _carry(self, job: Job, wish: SubmitRequest, fate: random.Random) -> None:
        """One attempt to one of its ends, or left somewhere on the way."""
        queue, token, now_ms = self.queue, wish.attempt_id, self.clock.now_ms()
        is_held = True
        match fate.choices(("accepted", "refused", "void", "unknown", "left"), (10, 1, 1, 4, 1))[0]:
            case "refused":
                await queue.record_nothing_created(token, AttemptState.REFUSED, 400, "no", None, "refused")
                return
            case "void":
                await queue.record_nothing_created(token, AttemptState.VOID, None, "not sent", now_ms, "not_sent")
                return
            case "unknown":
                is_held = False
                if not await self._is_found(token, fate):
                    return
            case "left":
                return
        await queue.record_accepted(token, f"p-{token}", "created")
        match fate.choices(("completed", "failed", "left"), (8, 2, 1))[0]:
            case "failed":
                await self._fail(token, fate)
            case "completed":
                await queue.record_completed(token, "completed", f"https://x/{token}.mp4")
                if is_held:
                    await self._collect(job, token, fate)

    async def _is_found(self, token: str, fate: random.Random) -> bool:
        """A submit of unknown outcome, and whether its prediction turns up, be it after all hope."""
        queue, now_ms = self.queue, self.clock.now_ms()
        await queue.record_unknown(token, "dropped")
        end = fate.choices(("found", "void", "void and found", "parked", "left", "unknown"), (5, 1, 2, 1, 1, 1))[0]
        if end in ("void", "void and found"):
            await queue.record_nothing_created(token, AttemptState.VOID, None, "absent", now_ms, "void")
        elif end == "parked":
            await queue.doubts.park(token, "nobody can tell")
        elif end == "left":
            await queue.doubts.leave(token, "nobody can tell")
        return end in ("found", "void and found")

    async def _fail(self, token: str, fate: random.Random) -> None:
        retry_ms = self.clock.now_ms() if fate.random() < 0.5 else None
        await self.queue.record_failed(token, "failed", 1405, "task failed", retry_ms, "task_failed")
        if fate.random() < 0.7:
            await self.queue.doubts.record_refund(token, fate.choice((RefundSeen.REFUNDED, RefundSeen.DENIED)))

    async def _collect(self, job: Job, token: str, fate: random.Random) -> None:
        attempt = Attempt(
            attempt_id=token,
            prediction_id=f"p-{token}",
            submitted_ms=self.clock.now_ms(),
            server_ahead_ms=None,
            output_url=None,
        )
        bought = replace(job, attempt=attempt)
        await self.queue.file_ready(bought, _DIGEST, 6, "{}")
        match fate.choices(("done", "rejected", "lost", "left"), (8, 1, 1, 1))[0]:
            case "done":
                await self.queue.finish(bought)
            case "rejected":
                await self.queue.reject(bought, "broken_clip", "cut")
            case "lost":
                await self.queue.lose(bought, "gone")
