"""`numbering bench`: the benchmark of the source tree, which is no part of what is installed."""

import click

from numbering.exits import USAGE_ERROR

__all__ = ["bench"]


@click.command(epilog="\b\nExample:\n  numbering bench --quick")
@click.option("--quick", is_flag=True, help="Only the three main runs, at 64 connections, in under a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(quick: bool, as_json: bool) -> None:
    """Measure the ledger's speed on servers of its own.

    In one run, beside the same server's no-op endpoint and beside the classical row lock. Needs a clone of the source.
    """
    try:
        from benchmarks.bench import main
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in ("benchmarks", "tests"):
            raise
        click.echo("numbering bench: the benchmarks are not installed; run this from a clone of the source", err=True)
        raise SystemExit(USAGE_ERROR) from None
    raise SystemExit(main(quick=quick, as_json=as_json))
