"""``python -m integration.sandbox``: a Salesforce org of your own on a loopback port, alive if you like.

Prints one JSON line with its address and credentials when it is ready, then runs until SIGTERM or Ctrl-C.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from integration.sandbox.clock import Clock, RealClock
from integration.sandbox.export import load_export
from integration.sandbox.org import Org
from integration.sandbox.product import ProductTraffic, history
from integration.sandbox.product_client import ProductClient, ProductRefusedError, keep_sending
from integration.sandbox.server import SandboxServer
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import World, build_world

_EXAMPLE = "example: python -m integration.sandbox --port 8089 --accounts 60 --every 2"


class RunningClock:
    """A clock that starts at a given time and then goes on at the pace of the machine's own."""

    def __init__(self, start: datetime) -> None:
        self._ahead: timedelta = start - datetime.now(UTC)

    def now(self) -> datetime:
        """Return the present of this clock as an aware UTC datetime."""
        return datetime.now(UTC) + self._ahead


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 stopped, 1 could not listen, 2 wrong words or bad data."""
    options = _parser().parse_args(arguments)
    try:
        key = _write_key(options)
    except ValueError as error:
        return _complain(str(error), 2)
    clock: Clock = RunningClock(options.clock_start) if options.clock_start else RealClock()
    org = Org(clock=clock)
    try:
        counts, world = _fill(org, options)
    except ValueError as error:
        return _complain(str(error), 2)
    server = SandboxServer(
        org,
        host=options.host,
        port=options.port,
        consumer_key=options.consumer_key,
        consumer_secret=options.consumer_secret,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
    except OSError as error:
        return _complain(f"Can't listen on {options.host}:{options.port} ({error}); choose another --port.", 1)
    ready = {
        "url": server.url,
        "consumer_key": options.consumer_key,
        "consumer_secret": options.consumer_secret,
        "org_id": org.org_id,
        "records": counts,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    telling = threading.Thread(target=_tell_of_product, args=(org, stop, options, key), name="product", daemon=True)
    if options.product_url is not None:
        telling.start()
    _live(org, world, stop, options)
    server.stop()
    return 0


def _live(org: Org, world: World | None, stop: threading.Event, options: argparse.Namespace) -> None:
    """Wait until ``stop`` is set, with traffic in between if it was asked for."""
    if options.every is None:
        stop.wait()
        return
    Traffic(org, world, seed=options.seed).run(stop, options.every, _say)


def _tell_of_product(org: Org, stop: threading.Event, options: argparse.Namespace, key: str) -> None:
    """Send what the product knows of its users, then what they do, until ``stop`` is set; a worker that is not
    there yet is waited for."""
    with ProductClient(options.product_url, key, stop=stop) as client:
        try:
            calls = history(org, seed=options.seed, ends_at=org.clock.now())
            sent = client.send(calls)
            if sent < len(calls):
                return
            _say(f"The product has told of its users in {sent:,} calls")
            if options.every is not None:
                keep_sending(client, ProductTraffic(org, seed=options.seed), stop, options.every)
        except ProductRefusedError as error:
            _say(str(error))


def _write_key(options: argparse.Namespace) -> str:
    """Return the key to send with. Raises ValueError, saying what to do, for words that don't go together."""
    if options.product_url is None:
        if options.write_key is not None or options.write_key_file is not None:
            raise ValueError("A write key is for sending product events: give --product-url too.")
        return ""
    if options.data is not None:
        raise ValueError("An export tells of no product: leave out --product-url, or --data.")
    if not options.product_url.startswith(("http://", "https://")):
        raise ValueError("--product-url is the address of a worker, such as http://127.0.0.1:8080.")
    if options.write_key_file is None:
        return options.write_key or ""
    try:
        return str(options.write_key_file.read_text("utf-8")).strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"{options.write_key_file} can't be read ({type(error).__name__}).") from None


def _fill(org: Org, options: argparse.Namespace) -> tuple[dict[str, int], World | None]:
    if options.data is not None:
        return load_export(org, options.data), None
    world = build_world(
        org,
        accounts=options.accounts,
        contacts=options.contacts,
        opportunities=options.opportunities,
        leads=options.leads,
        seed=options.seed,
        ends_at=org.clock.now(),
    )
    return world.counts, world


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m integration.sandbox",
        description="A Salesforce org of your own: the REST and Bulk API of an invented company's CRM.",
        epilog=_EXAMPLE,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=8089, help="port, 0 for any free one (default %(default)s)")
    add("--accounts", type=int, default=60, help="how many accounts (default %(default)s)")
    add("--contacts", type=int, help="how many contacts (default: four to an account)")
    add("--opportunities", type=int, help="how many opportunities (default: two to an account)")
    add("--leads", type=int, help="how many leads (default: one to an account)")
    add("--seed", type=int, default=7, help="the same seed tells the same story (default %(default)s)")
    add("--data", type=Path, metavar="FOLDER", help="load CSV exports (Account.csv, ...) instead of inventing")
    add("--every", type=_seconds, metavar="SECONDS", help="let something happen every so many seconds")
    add("--product-url", metavar="URL", help="send what the company's product tells to this worker")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--write-key", help="one of the worker's product.write_keys")
    key.add_argument("--write-key-file", type=Path, metavar="FILE", help="the file that holds it")
    add("--clock-start", type=_moment, metavar="TIME", help="what the org's clock shows at first, ISO 8601")
    add("--consumer-key", default="sandbox-key", help="for client-credentials logins (default %(default)s)")
    add("--consumer-secret", default="sandbox-secret", help="made up, like all of this (default %(default)s)")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0; give seconds such as 0.5.")
    return seconds


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time; try 2026-03-02T09:00:00Z.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def _complain(sentence: str, code: int) -> int:
    _say(sentence)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
