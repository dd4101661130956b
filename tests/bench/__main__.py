"""`make bench`: what headrace costs, beside a plain script on the same org in the same run.

CPU seconds are the operating system's own accounting, user and system, of the process that is judged; what the sandbox
org and the Valkey server use is shown beside it and not counted. Ratios are what to trust: machines differ.
Without words: an org of 40,000 records in four objects, a few minutes. See docs/benchmarks.md.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import bed as beds
import layers
import org as orgs
import product
import rows as work
import table
from machine import Machine
from rows import Row

from integration.settings import DEFAULT_OBJECTS

ACCOUNTS = 5_000
SIZES = "40000,400000,2000000"
PARTS = ("first", "history", "worker", "changes", "upkeep", "replay", "fanout", "product")


class Bench:
    """A run: what was asked for, and what was found."""

    def __init__(self, words: argparse.Namespace) -> None:
        self.words = words
        self.machine = Machine()
        self.found: dict[str, object] = {}
        self.objects = DEFAULT_OBJECTS if words.all else beds.FOUR

    def main(self) -> None:
        """Run the parts one after the other."""
        words = self.words
        with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
            env = beds.bare(Path(home))
            accounts = max(1, round(ACCOUNTS * words.scale))
            if words.only or words.profile:
                org = stack.enter_context(orgs.running(accounts, env))
                if words.only:
                    self.ordinary(org)
                if words.profile:
                    self.profile(org)
        if words.big:
            with tempfile.TemporaryDirectory() as home:
                self.big(10 * accounts, beds.bare(Path(home)))
        if words.growth:
            self.growth(words.growth)
        self.show("machine", [("what", "which"), *self.machine.lines()], heading="The machine")
        if words.json:
            words.json.write_text(json.dumps(self.found, indent=1))

    def ordinary(self, org: orgs.Org) -> None:
        """Everything on an org of the usual size."""
        words = self.words
        only, rounds = words.only, words.rounds if words.store is None else 1
        title = f"{sum(org.counts[name] for name in self.objects):,} records in {len(self.objects)} objects"
        mix = work.scaled(work.MIX, words.scale)
        told: list[Row] = []
        edited: list[Row] = []
        with ExitStack() as stack:
            made = [stack.enter_context(self.bed(org)) for _ in range(rounds)]
            bed = made[-1]
            told += self.told(work.first(made))
            if "history" in only and words.store is None:
                told += self.told(self.histories(org))
            if "changes" in only:
                edited = self.told(work.changes(bed, rounds, mix))
                told += [*edited, *self.told(work.nothing_new(bed, rounds))]
            if "worker" in only:
                script = edited[0] if edited else None
                found, delays = work.with_a_worker(bed, mix, words.seconds, words.polls, script)
                told += self.told(found)
                self.delays(delays)
            if "upkeep" in only:
                told += self.told(work.upkeep(bed))
            if "replay" in only:
                told += self.told([work.replay(bed, rounds)])
            if "fanout" in only:
                told += self.told(work.fan_out(bed, max(2, round(work.CROWD * words.scale))))
            if "product" in only:
                self.product(bed)
        self.show("rows", table.lines(told), heading=title, told=told)

    def histories(self, org: orgs.Org) -> list[Row]:
        """The first sync again, the objects that hold field history read as well, by both."""
        objects = beds.with_histories(self.objects, org)
        with beds.made(org, objects) as bed:
            return work.first([bed], f"first sync, {len(objects) - len(self.objects)} histories too")

    def bed(self, org: orgs.Org) -> AbstractContextManager[beds.Bed]:
        """Make a bed as the words ask for."""
        return beds.made(org, self.objects, store_url=self.words.store, interval=self.words.interval)

    def told(self, found: list[Row]) -> list[Row]:
        """Show rows as soon as they are there, for those who wait."""
        for row in found:
            ratio = f", {row.ratio:.2f}x the plain script" if row.ratio is not None else ""
            sys.stderr.write(f"{row.name}: {row.cpu:.2f} s CPU{ratio}\n")
        return found

    def delays(self, delays: Sequence[float]) -> None:
        """Show how long single changes took."""
        self.show("delay", table.delays(delays, self.words.interval), heading="Single changes", told=list(delays))

    def product(self, bed: beds.Bed) -> None:
        """Have clients send product events as fast as they are taken."""
        found = []
        for one in product.loads(bed, self.words.seconds / 2):
            sys.stderr.write(f"{one.name}: {one.events:,} events, {one.cpu:.0f} µs CPU for each, {one.lost} lost\n")
            found.append(one)
        self.show("product", product.lines(found), heading="Product events", told=[one.plain() for one in found])

    def big(self, accounts: int, env: dict[str, str]) -> None:
        """Ten times the org."""
        with orgs.running(accounts, env) as org, self.bed(org) as bed:
            records = sum(org.counts[name] for name in self.objects)
            sys.stderr.write(f"org of {records:,} records: started in {org.seconds:.0f} s\n")
            told = self.told(work.first([bed], "first sync, 10 times the org"))
            told += self.told(work.changes(bed, 1, work.scaled(work.MIX, self.words.scale)))
            note = f"The org itself took {org.seconds:.0f} s to start, and {orgs.memory(org):,.0f} MB."
            self.show("big", table.lines(told), heading=f"{records:,} records", note=note, told=told)

    def growth(self, sizes: str) -> None:
        """Cost per change in a store of several sizes: in the embedded store and in a server, or in the one given."""
        words = self.words
        profile = ["--profile"] if words.profile else []
        told = self.grown(sizes, [*profile, *(["--store", words.store] if words.store else [])])
        self.show("growth", table.growth(told), heading="One store as it grows", told=told)
        if words.profile:
            self.show("growth-layers", table.growth_by_layer(told), heading="What of it grows")
        if not words.store:
            told = self.grown(sizes, ["--postgres"])
            self.show("growth-postgres", table.growth(told), heading="A store in PostgreSQL as it grows", told=told)

    def grown(self, sizes: str, more: Sequence[str]) -> Any:
        """Grow a store in a process of its own."""
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            command = [sys.executable, str(Path(__file__).with_name("growth.py")), "--sizes", sizes, *more]
            done = subprocess.run(
                command, env=beds.bare(Path(name)), cwd=name, stdout=subprocess.PIPE, text=True, check=True
            )
        return json.loads(done.stdout)

    def profile(self, org: orgs.Org) -> None:
        """Where the time of a first sync and of many changes goes."""
        with self.bed(org) as bed:
            for name, title in (("profile-first", "first sync"), ("profile-changes", "many changes")):
                file = bed.folder / "profile.json"
                bed.script("profiled.py", str(file), "sync")
                sampled = json.loads(file.read_text())
                self.show(
                    name,
                    layers.by_layer(sampled),
                    heading=f"Where the CPU time of {title} goes",
                    told=sampled["layers"],
                )
                self.show("", layers.by_phase(sampled), heading="The same, by what the consumer is doing")
                self.show("", layers.by_function(sampled), heading="The same, by function")
                bed.org.grow_old()
                bed.org.ask("edit", **work.scaled(work.MIX, self.words.scale))

    def show(
        self, name: str, cells: Sequence[table.Line], *, heading: str, note: str = "", told: object = None
    ) -> None:
        """Print a table, keep it for --json, and write it into the page."""
        sys.stdout.write(f"\n{heading}\n{table.text(cells)}\n" + (f"{note}\n" if note else ""))
        sys.stdout.flush()
        if not name:
            return
        self.found[name] = table.plain(cells if told is None else told)
        if self.words.write:
            stamp = (
                "" if name == "machine" else f"*{heading}. {note}{' ' if note else ''}Run of {self.machine.stamp}.*\n\n"
            )
            table.write(self.words.write, name, stamp + table.markdown(cells))


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scale", type=float, default=1.0, help="size of org and changes; 1.0: 5,000 accounts, 20,000 contacts, ...")
    add("--all", action="store_true", help="all default objects, not only the four that are counted")
    add("--rounds", type=int, default=3, help="how often what one command does is run; the median is shown (default 3)")
    add(
        "--seconds",
        type=float,
        default=60,
        help="how long single changes are made, and half as long each load of product events (default 60)",
    )
    add("--interval", type=float, default=2, help="poll.interval_seconds of workers (default 2)")
    add("--polls", type=int, default=15, help="over how many quiet polls the cost of one is taken (default 15)")
    add(
        "--only", type=_parts, default=PARTS, metavar="PART,...", help=f"which rows: {','.join(PARTS)}; `none` for none"
    )
    add("--big", action="store_true", help="also ten times the org (the org alone takes a gigabyte and two minutes)")
    add(
        "--growth",
        nargs="?",
        const=SIZES,
        metavar="SIZES",
        help=f"also the cost per change in stores of these sizes ({SIZES})",
    )
    add("--profile", action="store_true", help="also where the time goes")
    add("--everything", action="store_true", help="all of it")
    add("--store", metavar="URL", help="an empty store instead of a DuckDB file of its own; each part needs one")
    add("--write", type=Path, metavar="PAGE", help="write the tables into this page, between its markers")
    add("--json", type=Path, metavar="FILE", help="write all numbers into this file")
    words = parser.parse_args()
    if words.write:
        table.check(words.write)
    if words.everything:
        words.big = words.profile = True
        words.growth = words.growth or SIZES
    return words


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(",")) if text != "none" else ()
    if unknown := set(parts) - {*PARTS}:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return parts


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started, and throws its files away
    Bench(_words()).main()
