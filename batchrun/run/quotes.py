"""What clips cost today and what the account holds, asked of the provider (`model/price`, `balance`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchrun.clock import Clock
from batchrun.manifest.jobs import JobSpec
from batchrun.money import format_usd
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.provider.outcome import NotAllowedError, ProviderError
from batchrun.run.halts import Halt, HaltKind, halt_of_error

_ANSWER_S = 10.0
"""For all questions of `ask_today` together: a plan does not hang on a provider that is away."""


@dataclass(frozen=True, slots=True)
class Quote:
    """One kind of clip: what it costs today, and what was agreed to for it at least."""

    model: str
    duration_s: int
    quoted_usd_micros: int
    agreed_usd_micros: int
    """By `max_price`, or the price list."""

    @property
    def is_dearer(self) -> bool:
        """Whether a run stops before it spends anything."""
        return self.quoted_usd_micros > self.agreed_usd_micros


@dataclass(frozen=True, slots=True)
class Today:
    """What the provider says before anything is bought."""

    quotes: Sequence[Quote] = ()
    balance_usd_micros: int | None = None
    trouble: str = ""
    """Why something of it is not known."""


async def ask_today(base_url: str, key: str, samples: Sequence[JobSpec], clock: Clock) -> Today:
    """Price and balance, within a bound; whatever is wrong with the provider is an answer as well."""
    quotes: list[Quote] = []
    try:
        async with clock.timeout(_ANSWER_S), Http(base_url, key, clock) as http:
            client = Client(http, clock)
            quotes, halt = await ask_quotes(client, samples)
            return Today(quotes, None, halt.message) if halt else Today(quotes, await client.balance())
    except (NotAllowedError, ProviderError) as error:
        return Today(quotes, None, str(error))
    except TimeoutError:
        return Today(quotes, None, f"no answer within {_ANSWER_S:.0f} s")


async def ask_quotes(client: Client, samples: Sequence[JobSpec]) -> tuple[list[Quote], Halt | None]:
    """The quote of each kind of clip, as far as there are answers; and why nothing may be bought: a refused key.

    Without an answer the price list stands, and the caps hold at its prices.

    Args:
        client: asks.
        samples: a job of each kind, of the least price that was agreed to.
    """
    quotes: list[Quote] = []
    for spec in samples:
        inputs = {"prompt": spec.prompt, "duration": spec.duration_s, "image": spec.image_url or "picture.jpg"}
        try:
            quoted = await client.price(spec.model, inputs)
        except NotAllowedError as error:
            halt = halt_of_error(error)
            if halt.kind is HaltKind.KEY_REFUSED:
                return quotes, halt
            continue
        except ProviderError:
            continue
        quotes.append(Quote(spec.model, spec.duration_s, quoted, spec.price_usd_micros))
    return quotes, None


def halt_of_quotes(quotes: Sequence[Quote]) -> Halt | None:
    """A dearer quote than was agreed to stops before spending."""
    return next((halt_of_dearer(one) for one in quotes if one.is_dearer), None)


def prices_of(quotes: Sequence[Quote]) -> Mapping[tuple[str, int], int]:
    """Today's prices in micro-dollars, by model and duration in seconds; a quote of nothing is none."""
    return {(one.model, one.duration_s): one.quoted_usd_micros for one in quotes if one.quoted_usd_micros > 0}


def halt_of_dearer(one: Quote) -> Halt:
    """In words."""
    quote = format_usd(one.quoted_usd_micros)
    text = (
        f"today a {one.duration_s} s clip costs {quote}, more than the {format_usd(one.agreed_usd_micros)} you agreed to; "
        f"nothing is bought at that. To accept it, set limits.max_price: {{{one.duration_s}: {quote[1:]}}}"
    )
    return Halt(HaltKind.PRICE_CHANGED, text)
