"""Run the real turn under every fault, or every pair of faults, of a scene.

    python tests/simulation/explore.py 1 --scene three
    python tests/simulation/explore.py 2 --scene two --from 0 --count 20000

Plans are numbered, so a long run can be cut into pieces and resumed.
"""

import argparse
import gc
import itertools
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "functions")]

from oracle import judge
from scenes import SCENES
from world import KINDS, Script, World

SLACK_AFTER_FAULT = 25
"""A first fault makes a run longer: the second may hit up to so many RPCs after the faultless run's end."""


def one(plan: Mapping[int, str], script: Script, seed: int = 0) -> tuple[World, list[str]]:
    world = World(plan, script, seed).run()
    return world, judge(world)


def singles(rpcs: int) -> Iterator[dict[int, str]]:
    return ({i: kind} for i in range(rpcs) for kind in KINDS)


def pairs(rpcs: int) -> Iterator[dict[int, str]]:
    return ({i: a, j: b} for i in range(rpcs) for j in range(i + 1, rpcs + SLACK_AFTER_FAULT) for a in KINDS for b in KINDS)


def explore(plans: Iterator[dict[int, str]], script: Script, seed: int = 0) -> tuple[int, dict[str, list[str]]]:
    """How many plans ran, and what was wrong with which."""
    runs, bad = 0, dict[str, list[str]]()
    for plan in plans:
        runs += 1
        if wrong := one(plan, script, seed)[1]:
            bad[json.dumps(plan)] = wrong
    return runs, bad


def main() -> int:
    logging.disable(logging.CRITICAL)  # a turn says a line for every fault
    gc.freeze()  # what is imported stays: collecting only what a run leaves behind is three times as fast
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("depth", type=int, choices=(1, 2))
    parser.add_argument("--scene", default="three", choices=list(SCENES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="start", type=int, default=0)
    parser.add_argument("--count", type=int, default=None)
    args = parser.parse_args()
    script, began = SCENES[args.scene], time.perf_counter()
    world, wrong = one({}, script, args.seed)
    plans = (singles if args.depth == 1 else pairs)(world.rpc_count)
    stop = None if args.count is None else args.start + args.count
    runs, bad = explore(itertools.islice(plans, args.start, stop), script, args.seed)
    took = round(time.perf_counter() - began, 1)
    result = {"scene": args.scene, "depth": args.depth, "seed": args.seed, "rpcs": world.rpc_count, "faultless": wrong}
    print(json.dumps({**result, "from": args.start, "runs": runs, "bad": len(bad), "seconds": took}))  # noqa: T201
    for complaint, n in Counter(c for cs in bad.values() for c in cs).most_common(10):
        print(f"  {n} times: {complaint}")  # noqa: T201
    for plan, complaints in itertools.islice(bad.items(), 12):
        print("  ", plan, complaints)  # noqa: T201
    return bool(bad or wrong)


if __name__ == "__main__":
    sys.exit(main())
