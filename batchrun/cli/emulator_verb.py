"""`batchrun emulator`: the provider's API on this machine."""

import argparse
import asyncio
import math
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from batchrun.cli import common
from batchrun.clock import SystemClock
from batchrun.emulator.books import Books
from batchrun.emulator.faults import PRESETS, Dice, Fault, parse_faults
from batchrun.emulator.latency import Latency
from batchrun.emulator.render import AREA_PX
from batchrun.emulator.server import Emulator, PortError, render_at, serve
from batchrun.emulator.world import Account, World
from batchrun.errors import BatchrunError, UsageError
from batchrun.manifest.catalogue import tiers
from batchrun.run.stop import Stop, on_signals

_BALANCE_USD_MICROS = 1_000_000_000
_LARGEST_PORT = 65_535
_SLOWEST, _FASTEST = 0.01, 1_000_000.0
_SMALL_PX = 320 * 180


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--port", type=_port, default=8089, help="of the API (default 8089; 0 takes any free one)")
    parser.add_argument("--key", help="the only key that is accepted (default: every request)")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, help="how much faster than the real provider (default 1; 0: at once)"
    )
    parser.add_argument("--tier", choices=list(tiers()), help="the account's limits (default: none)")
    parser.add_argument(
        "--balance",
        type=common.usd_argument,
        default=_BALANCE_USD_MICROS,
        metavar="USD",
        help="of the account (default 1000)",
    )
    parser.add_argument(
        "--faults", default="", help=f"{', '.join(PRESETS)}, or NAME=P,NAME=P (from 0 to 1) with {', '.join(Fault)}"
    )
    parser.add_argument("--seed", type=int, help="the same seed plays the same night")
    parser.add_argument("--small", action="store_true", help="clips of 320x180 instead of 1280x720")
    parser.add_argument("--hide-inputs", action="store_true", help="do not echo inputs in results and lists")
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="keep everything there (default: forget at the end)"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= _LARGEST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to {_LARGEST_PORT}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if speed == 0 or _SLOWEST <= speed <= _FASTEST:
        return speed
    raise argparse.ArgumentTypeError(f"{text!r} is not a speed; write 0, or from {_SLOWEST:g} to {_FASTEST:.0f}")


def main(parsed: argparse.Namespace) -> int:
    """Serve until a signal."""
    return asyncio.run(_main(parsed))


async def _main(parsed: argparse.Namespace) -> int:
    stop = Stop()
    async with AsyncExitStack() as stack:
        emulator = await _served(parsed, _world(parsed), stack)
        print(f"WAVESPEED_BASE_URL={emulator.base_url}", flush=True)
        print(f"books: {emulator.base_url}/", file=sys.stderr)
        print("serving until Ctrl-C; any WAVESPEED_API_KEY will do" if not parsed.key else "serving", file=sys.stderr)
        with on_signals(stop):
            await stop.drain.wait()
    return 0


def _world(parsed: argparse.Namespace) -> World:
    try:
        faults = parse_faults(parsed.faults)
    except ValueError as error:
        raise UsageError(f"--faults: {error}") from None
    tier = tiers()[parsed.tier] if parsed.tier else None
    try:
        if parsed.folder is not None:
            parsed.folder.mkdir(parents=True, exist_ok=True)
        return World(
            SystemClock(),
            Latency(parsed.speed or None),
            Dice(faults, parsed.seed or 0),
            account=Account(concurrency=tier.concurrency, per_minute=tier.per_minute) if tier else Account(),
            books=Books(parsed.balance),
            folder=parsed.folder,
            seed=parsed.seed,
        )
    except OSError as error:
        raise UsageError(f"--folder {parsed.folder} cannot be used: {error.strerror}; name another folder") from error


async def _served(parsed: argparse.Namespace, world: World, stack: AsyncExitStack) -> Emulator:
    server = serve(
        world,
        port=parsed.port,
        key=parsed.key,
        render_clip=render_at(_SMALL_PX if parsed.small else AREA_PX),
        show_inputs=not parsed.hide_inputs,
    )
    try:
        return await stack.enter_async_context(server)
    except PortError as error:
        raise UsageError(f"port {parsed.port} cannot be used: {error}; choose another with --port") from error
    except OSError as error:
        raise BatchrunError(f"the emulator has no place for its files: {error}; name one with --folder") from error
