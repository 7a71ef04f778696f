"""Every rule of the protocol is necessary: switch one off at a time, and the model must find the property that breaks.

A mutant names its rule, the smallest budget of faults that is enough, and the property (S1, T4, ...) whose violation is found first.

    python tests/model/mutants.py [NAME ...]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a command; the package is this folder

from model.model import FAULTS, Cfg, run

ENOUGH = 4_000_000  # states; a mutant that is still alive then counts as one that survives


@dataclass(frozen=True)
class Mutant:
    """A protocol with one rule less. `breaks` may also be EF: a state from which no good end can be reached."""

    name: str  # what is done instead of the rule
    mut: str  # its switches in the model
    breaks: str  # the property
    K: int
    faults: str = " ".join(FAULTS)
    config: dict[str, Any] = field(default_factory=dict)

    def search(self) -> dict[str, Any]:
        """Search until the first violation."""
        cfg = Cfg(K=self.K, faults=set(self.faults.split()), mut=set(self.mut.split(",")), **self.config)
        return run(cfg, ENOUGH, ef=self.breaks == "EF")


TWO_PARTS = {"parts": 2}
ONE_MESSAGE = {"nmsg": 1}
NEVER_BACK = {"back": False}
BARE = {"tool": False, "stream": False, "back": False}
ADVERSARY = {"chaos": True, "maxepoch": 3}

MUTANTS = [
    Mutant("post the answer directly after the finish (+lookup on recovery)", "postatend", "S2", 1),
    Mutant("no compare-and-set (blind overwrite)", "nocas", "S6", 1),
    Mutant("busy message acked with inbox only, no baton", "nobaton", "T1", 1),
    Mutant("busy acked with inbox only, only crashes", "nobaton", "T1", 1, "crash"),
    Mutant("a successor adopts the old placeholder instead of replacing it", "adopt", "S7", 1),
    Mutant("inbox-only + check and release in two steps (lost wake-up), no faults", "nobaton,split_release", "T1", 0),
    Mutant("dedup only in Firestore, transcript keys ignored", "fsdedup", "S1", 1),
    Mutant("answered key written before delivery", "earlykey", "S4", 1),
    Mutant("answered key written before delivery, only crashes", "earlykey", "S4", 1, "crash"),
    Mutant("hand-over without a successor task, only SIGTERM", "nosuccessor", "T1", 1, "term"),
    Mutant("no tool intent before execution", "nointent", "S5", 1),
    Mutant("in-doubt tool is executed again on resume", "redo_tool", "S5", 1),
    Mutant("412 after own lost response taken as defeat: delete own message", "ambig412", "S7", 2, "lost expire"),
    Mutant("no delayed tidy", "notidy", "T4", 1, "crash"),
    Mutant("'strays possible' kept only in memory", "localmessy", "T4", 2, "crash late", ONE_MESSAGE),
    Mutant("lookup-delete not fenced by epoch", "unfenced", "S7", 1),
    Mutant("per-turn locals survive into the next turn", "stale_local", "T3", 1, "lost"),
    Mutant("next turn opened before the previous answer is delivered", "order", "S4", 1),
    Mutant("an ambiguous progress text may stay on the slot", "lateupd_ok", "S7", 1),
    Mutant(
        "attempts reset by every take-over, poison m1, no faults", "alwaysreset", "S8", 0, config={"poison": 1, "bound": 12}
    ),
    Mutant("part 2 filled although its slot was not recorded", "latepart", "S3", 0, config=TWO_PARTS),
    Mutant(
        "lookup keeps a late part before its predecessor", "partorder", "T3", 3, "late lost userdel", {"parts": 2, "nmsg": 1}
    ),
    Mutant("a lost part drops the slots already filled", "dropall", "S3", 1, config=TWO_PARTS),
    Mutant("what the turn held when it was read is not pending after isolation", "oncepending", "T1", 0, config=ADVERSARY),
    # the early commit of returns
    Mutant("resume calls a call unknown whose return is committed", "keepunknown", "S6", 1),
    Mutant("a hand-over does not commit the returns in hand", "losereturns", "S6", 1, "term"),
    Mutant("after an ambiguous early commit the owner forgets that the tool ran", "forgets", "S5", 1),
    # the reservation beside the run
    Mutant("a post in flight is forgotten at re-admission", "forgetpost", "T4", 1, "lost"),
    Mutant("the first slot is reserved beside OPEN instead of after it", "earlypost", "T4", 1, "expire"),
    Mutant("a progress text after an ambiguous finish", "lateprogress", "S7", 2, "lost late", ONE_MESSAGE),
    # a reservation refused for good
    Mutant("a refused finish keeps the slots that it had", "refusedslot", "T4", 1, "refused", TWO_PARTS),
    Mutant("an undeliverable turn is not counted as delivered", "refusedblocks", "S8", 0, config={"archived": True}),
    Mutant("a messy undeliverable turn is delivered without cleaning", "refuseddirty", "T4", 1, "refused", TWO_PARTS),
    Mutant(
        "an update refused for good drops slots that may be visible", "refuseddrop", "S3", 2, "crash dup refused", ONE_MESSAGE
    ),
    # null slots after a failed reservation
    Mutant("null slots of a tainted message filled without a new epoch", "taintfill", "S7", 1),
    Mutant("null slots filled by another worker without a new epoch", "strangerfill", "S7", 2, "crash late", ONE_MESSAGE),
    # the document does not answer
    Mutant("a message waits for the document, which never answers again", "waits", "EF", 1, "away", NEVER_BACK),
    Mutant(
        "without a lease an open turn is taken over: two live workers fight", "fights", "S8", 1, "away", BARE | {"bound": 5}
    ),
    Mutant("... and a poison message is never counted", "fights", "S8", 1, "away", {"nmsg": 1, "poison": 1, "bound": 8}),
    Mutant("without a lease, another's open turn is acked without a baton", "nobaton_alone", "T1", 1, "away"),
    Mutant("without a lease, a finished turn is believed to be shown", "believes", "S4", 1, "away"),
    Mutant("... by its own redelivery", "believes", "T3", 2, "away crash", ONE_MESSAGE | NEVER_BACK),
]


def main() -> None:
    """Search each mutant and say what became of it."""
    chosen = [m for m in MUTANTS if not sys.argv[1:] or m.mut in sys.argv[1:]]
    caught = 0
    for m in chosen:
        r = m.search()
        found = r["violation"]
        ok = bool(found) and found.startswith(m.breaks + " ")
        caught += ok
        word = "CAUGHT" if ok else "OTHER" if found else "SURVIVES"
        print(f"{word:9}K={m.K} {m.name:72} {r['states']:>8} states {r['seconds']:>6} s  {found}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    sys.exit(caught != len(chosen))


if __name__ == "__main__":
    main()
