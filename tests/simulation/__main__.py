"""Run many seeds by hand: python -m tests.simulation FIRST LAST"""

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from tests.simulation.stops import Damage, run_stop
from tests.simulation.world import run_seed

Run = Callable[[], object]


def main(first: int, last: int) -> int:
    seen: Counter[str] = Counter()
    failed = [name for name, run in _runs(range(first, last), seen) if not _passes(name, run)]
    for what, count in sorted(seen.items()):
        print(f"{count:8} {what}")
    print(f"failed: {failed or 'none'}")
    return 1 if failed else 0


def _runs(seeds: range, seen: Counter[str]) -> Iterator[tuple[str, Run]]:
    for seed in seeds:
        yield str(seed), partial(_run_and_count, seed, seen)
        for damage in Damage:
            yield f"{seed} {damage.name}", partial(run_stop, seed, damage)


def _run_and_count(seed: int, seen: Counter[str]) -> None:
    seen.update(run_seed(seed).seen)


def _passes(name: str, run: Run) -> bool:
    try:
        run()
    except Exception:
        print(f"== seed {name}", file=sys.stderr)
        traceback.print_exc(limit=-3)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
