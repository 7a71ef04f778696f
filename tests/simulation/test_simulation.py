"""The real turn in a world that fails on plan: every single fault at every call, and every rule switched off.

The longer run, every pair of faults, is `python tests/simulation/explore.py 2 --scene two --from 0 --count 1000`.
"""

import gc
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from explore import explore, one, pairs, singles
from mutants import MUTANTS, Mutant, hunt
from scenes import SCENES
from world import KINDS

EXTRA_MODEL_CALLS = 1
WHOLE = ("plain", "one", "two", "three", "batch", "parts", "parts of two", "large", "erased", "archived", "archived meanwhile")
"""Scenes of which every plan is run each time; the others last for hours or die often, and are sampled."""

SAMPLE = 200
BEYOND = {"erased": ("restore", "late"), "documents gone": ("crash_before", "crash_after", "term", "cut")}
"""Where somebody deletes the transcript, the arbiter is gone: an older document from a backup may then have a message answered
again, and what a lost turn posts late is nobody's. Where the documents never answer again, nobody goes on with the open turn of
an owner who is gone. README says so; everything else holds even then."""

UNTIL_SWEPT = 60 + 30 + 60
"""Seconds from a hang until a task goes on: the lease, what it must be overdue, a minute between two sweeps."""


@pytest.fixture(autouse=True, scope="module")
def quick_and_quiet() -> Iterator[None]:
    """A turn says a line for every fault; and what is imported by now need not be looked through for garbage each time."""
    logging.disable(logging.CRITICAL)
    gc.freeze()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("scene", SCENES)
def test_without_a_fault_every_scene_ends_well(scene: str) -> None:
    assert one({}, SCENES[scene])[1] == []


@pytest.mark.parametrize("scene", SCENES)
def test_no_single_fault_at_any_call_loses_doubles_or_disorders_an_answer(scene: str) -> None:
    script = SCENES[scene]
    every = [p for p in singles(one({}, script)[0].rpc_count) if not set(p.values()) & set(BEYOND.get(scene, ()))]
    runs, bad = explore(iter(every[:: 1 if scene in WHOLE else len(every) // SAMPLE + 1]), script)
    assert runs >= min(len(every), SAMPLE) / 2
    assert bad == {}


@pytest.mark.long
@pytest.mark.parametrize("scene", [s for s in SCENES if s not in WHOLE])
def test_no_single_fault_does_in_the_long_scenes_either(scene: str) -> None:
    script = SCENES[scene]
    _, bad = explore(singles(one({}, script)[0].rpc_count), script)
    assert bad == {}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_the_order_in_which_things_happen_at_once_does_not_matter(seed: int) -> None:
    script = SCENES["two"]
    runs, bad = explore(singles(one({}, script, seed)[0].rpc_count), script, seed)
    assert runs > len(KINDS)
    assert bad == {}


@pytest.mark.long
def test_no_pair_of_faults_loses_doubles_or_disorders_an_answer() -> None:
    script = SCENES["two"]
    _, bad = explore(pairs(one({}, script)[0].rpc_count), script)
    assert bad == {}


def test_a_single_fault_buys_at_most_one_model_call_again() -> None:
    script = SCENES["one"]
    world, _ = one({}, script)
    bought = {str(plan): one(plan, script)[0].model_calls - world.model_calls for plan in singles(world.rpc_count)}
    assert {plan: n for plan, n in bought.items() if n > EXTRA_MODEL_CALLS} == {}


@pytest.mark.parametrize("sweep", [1, 20, 40])
def test_a_process_that_hangs_at_any_call_costs_two_and_a_half_minutes_at_most(sweep: float) -> None:
    """Wherever its lease stands, and whenever the sweep comes; before that only the queue's deadline finds out."""
    script = replace(SCENES["one"], sweep=sweep)
    world, _ = one({}, script)
    usual, calls = max(world.shown_at.values()), [name for _, name, _ in world.trace]
    leased = calls.index("fs.write") + 1
    late = {}
    for i in range(leased, len(calls)):
        hung, wrong = one({i: "hang"}, script)
        assert wrong == []
        delay = max(hung.shown_at.values()) - usual
        if delay > UNTIL_SWEPT + script.think + 2:  # and one model call bought again
            late[i, calls[i]] = delay
    assert late == {}
    assert len(calls) - leased > 8


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_a_rule_switched_off_is_noticed_and_named(mutant: Mutant) -> None:
    _, _, complaints = hunt(mutant)
    assert any(mutant.complaint in complaint for complaint in complaints), mutant.rule
