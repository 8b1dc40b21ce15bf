"""`batchrun emulator`: the provider's API on this machine."""

import argparse
import asyncio
import sys
from pathlib import Path

from batchrun.clock import SystemClock
from batchrun.emulator.books import Books
from batchrun.emulator.faults import PRESETS, Dice, Fault, parse_faults
from batchrun.emulator.latency import Latency
from batchrun.emulator.render import AREA_PX
from batchrun.emulator.server import render_at, serve
from batchrun.emulator.world import Account, World
from batchrun.errors import UsageError
from batchrun.run.stop import Stop, on_signals

_MICROS = 1_000_000
_TIERS = {"bronze": (2, 2), "silver": (100, 60), "gold": (2000, 600), "ultra": (5000, 5000)}
_SMALL_PX = 320 * 180


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--port", type=int, default=8089, help="of the API (default 8089; 0 takes any free one)")
    parser.add_argument("--key", help="the only key that is accepted (default: every request)")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="how much faster than the real provider (default 1; 0: at once)"
    )
    parser.add_argument("--tier", choices=list(_TIERS), help="the account's limits (default: none)")
    parser.add_argument("--balance", type=float, default=1000.0, metavar="USD", help="of the account (default 1000)")
    parser.add_argument(
        "--faults", default="", help=f"{', '.join(PRESETS)}, or NAME=P,NAME=P (from 0 to 1) with {', '.join(Fault)}"
    )
    parser.add_argument("--seed", type=int, help="the same seed plays the same night")
    parser.add_argument("--small", action="store_true", help="clips of 320x180 instead of 1280x720")
    parser.add_argument("--hide-inputs", action="store_true", help="do not echo inputs in results and lists")
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="keep everything there (default: forget at the end)"
    )


def main(parsed: argparse.Namespace) -> int:
    """Serve until a signal."""
    return asyncio.run(_main(parsed))


async def _main(parsed: argparse.Namespace) -> int:
    try:
        faults = parse_faults(parsed.faults)
    except ValueError as error:
        raise UsageError(f"--faults: {error}") from None
    account = Account(*_TIERS[parsed.tier]) if parsed.tier else Account()
    world = World(
        SystemClock(),
        Latency(parsed.speed or None),
        Dice(faults, parsed.seed or 0),
        account=account,
        books=Books(int(parsed.balance * _MICROS)),
        folder=parsed.folder,
        seed=parsed.seed,
    )
    stop = Stop()
    render = render_at(_SMALL_PX if parsed.small else AREA_PX)
    try:
        async with serve(
            world, port=parsed.port, key=parsed.key, render_clip=render, show_inputs=not parsed.hide_inputs
        ) as emulator:
            print(f"WAVESPEED_BASE_URL={emulator.base_url}", flush=True)
            print(f"books: {emulator.base_url}/", file=sys.stderr)
            print(
                "serving until Ctrl-C; any WAVESPEED_API_KEY will do" if not parsed.key else "serving", file=sys.stderr
            )
            with on_signals(stop):
                await stop.drain.wait()
    except OSError as error:
        raise UsageError(f"port {parsed.port} cannot be used: {error.strerror}; choose another with --port") from error
    return 0
