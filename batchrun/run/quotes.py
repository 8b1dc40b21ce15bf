"""What clips cost today, asked before the first one is bought (`model/price`)."""

from collections.abc import Mapping, Sequence

from batchrun.manifest.jobs import JobSpec
from batchrun.money import format_usd
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotAllowedError, ProviderError
from batchrun.run.halts import Halt, HaltKind, halt_of_error

Quotes = Mapping[tuple[str, int], int]
"""Micro-dollars by model and duration in seconds."""


async def ask_quotes(client: Client, wanted: Sequence[JobSpec]) -> tuple[dict[tuple[str, int], int], Halt | None]:
    """The quote of each kind of clip, and why nothing may be bought: a dearer one than was agreed to, a refused key.

    Without an answer the price list stands, and the caps hold at its prices.
    """
    quotes: dict[tuple[str, int], int] = {}
    dearest_first = sorted(wanted, key=lambda spec: -spec.price_usd_micros)  # the last of a kind is the least agreed to
    for spec in {(spec.model, spec.duration_s): spec for spec in dearest_first}.values():
        inputs = {"prompt": spec.prompt, "duration": spec.duration_s, "image": spec.image_url or "picture.jpg"}
        try:
            quote = await client.price(spec.model, inputs)
        except NotAllowedError as error:
            halt = halt_of_error(error)
            if halt.kind is HaltKind.KEY_REFUSED:
                return quotes, halt
            continue
        except ProviderError:
            continue
        if quote > spec.price_usd_micros:
            return quotes, Halt(HaltKind.PRICE_CHANGED, _dearer(spec.duration_s, quote, spec.price_usd_micros))
        if quote > 0:
            quotes[spec.model, spec.duration_s] = quote
    return quotes, None


def _dearer(duration_s: int, quote: int, expected: int) -> str:
    return (
        f"today a {duration_s} s clip costs {format_usd(quote)}, more than the {format_usd(expected)} you agreed to; "
        f"nothing was bought. To accept it, set limits.max_price: {{{duration_s}: {format_usd(quote)[1:]}}}"
    )
