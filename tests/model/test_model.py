"""The protocol's model keeps its promises, and needs each of its rules."""

from __future__ import annotations

from typing import Any

import pytest

from model.model import FAULTS, PCS, Cfg, Model, run
from model.mutants import MUTANTS, Mutant

ADVERSARY = {"chaos": True, "K": 0}


def check(config: dict[str, Any], *, ef: bool = True, compact: bool = False) -> None:
    res = run(Cfg(**config), ef=ef, compact=compact)
    assert res["violation"] is None, "\n".join([res["violation"], *res["trace"]])
    assert res["complete"]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"K": 0}, id="no fault"),
        pytest.param({"K": 1}, id="one fault"),
        pytest.param({"K": 1, "tool": False}, id="one fault, no tool"),
        pytest.param({"K": 1, "parts": 2}, id="one fault, two parts"),
        pytest.param({"K": 1, "archived": True}, id="one fault, every post refused"),
        pytest.param({"K": 2, "nmsg": 1}, id="two faults, one message"),
        pytest.param({"K": 2, "nmsg": 1, "parts": 2}, id="two faults, one message, two parts"),
        pytest.param({"K": 1, "faults": {"away"}, "back": False}, id="the document never answers again"),
        pytest.param(
            {"K": 2, "nmsg": 1, "faults": {"away", "lost", "late", "dup"}, "back": False}, id="nor a second fault helps"
        ),
        pytest.param({"K": 0, "poison": 3}, id="both messages kill"),
        pytest.param({"K": 0, "poison2": 3}, id="both messages kill beside the early commit"),
    ],
)
def test_every_interleaving_answers_each_message_once_and_can_always_come_to_a_good_end(config: dict[str, Any]) -> None:
    """S1 to S8 hold in every reachable state, T1 to T5 in every state at rest, and from every state a good one can be reached (EF)."""
    check(config)


def test_an_adversary_in_the_place_of_firestore_breaks_nothing() -> None:
    """Leases without mutual exclusion, any inbox, answered keys forgotten at will: cost and latency suffer, answers do not."""
    check(ADVERSARY | {"maxepoch": 2}, ef=False)


def test_the_search_takes_every_step_and_every_fault() -> None:
    """Nothing holds only because it never happens."""
    labels: set[str] = set()
    for config in (Cfg(K=1, nmsg=1), Cfg(K=0, poison2=1), Cfg(K=1, faults={"expire"})):
        model = Model(config)
        seen = {model.canon(model.init())}
        todo = list(seen)
        while todo:
            for label, state in model.succ(todo.pop()):
                labels.add(label)
                if (s := model.canon(state)) not in seen:
                    seen.add(s)
                    todo.append(s)
    only_mutants = {"REL2", "POSTFINAL", "LOOKFINAL"}
    only_two_parts = {"UPDATE2"}
    assert {word for label in labels for word in label.split()} >= set(PCS) - only_mutants - only_two_parts
    marks = {
        "crash": "FAULT crash",
        "term": "SIGTERM, returns in hand",
        "dup": "duplicate delivery",
        "expire": "holder alive",
        "lost": "response lost",
        "late": "lands later",
        "wipe": "document lost",
        "restore": "restored from older",
        "away": "does not answer",
        "userdel": "user deletes",
        "refused": "refused for good",
        "failed": "reserve fails",
    }
    assert set(marks) == set(FAULTS)
    assert {fault for fault, mark in marks.items() if any(mark in label for label in labels)} == set(FAULTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.mut} K={m.K} {m.breaks}")
def test_without_this_rule_the_model_finds_the_property_that_breaks(mutant: Mutant) -> None:
    """Each rule of the protocol is necessary, and the model is sharp enough to say why."""
    res = mutant.search()
    assert res["violation"], f"survives: {mutant.name}"
    assert res["violation"].startswith(mutant.breaks + " "), res["violation"]


@pytest.mark.long
@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"K": 1, "poison": 1}, id="one fault, the first message kills"),
        pytest.param({"K": 1, "poison": 2}, id="one fault, the second message kills"),
        pytest.param({"K": 1, "poison": 3}, id="one fault, both messages kill"),
        pytest.param({"K": 1, "poison": 1, "parts": 2}, id="one fault, the first message kills, two parts"),
        pytest.param({"K": 1, "poison2": 1}, id="one fault, the first message kills beside the early commit"),
        pytest.param({"K": 1, "nwork": 3}, id="one fault, three workers"),
        pytest.param({"K": 3, "nmsg": 1}, id="three faults, one message"),
    ],
)
def test_it_holds_with_poison_more_workers_and_more_faults(config: dict[str, Any]) -> None:
    """The same promises where the search takes up to a minute."""
    check(config)


@pytest.mark.long
@pytest.mark.parametrize("config", [{"maxepoch": 3}, {"maxepoch": 2, "parts": 2}], ids=["one part", "two parts"])
def test_an_adversary_with_more_take_overs_breaks_nothing(config: dict[str, Any]) -> None:
    """The adversary again, with more epochs or more parts."""
    check(ADVERSARY | config, ef=False)


@pytest.mark.long
@pytest.mark.parametrize("config", [{"K": 2}, {"K": 1, "nmsg": 3}], ids=["two faults", "three messages"])
def test_it_holds_at_full_size(config: dict[str, Any]) -> None:
    """Two faults of any kind between two messages, one between three: millions of states, minutes."""
    check(config, compact=True)
