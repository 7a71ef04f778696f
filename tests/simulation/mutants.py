"""Every rule of the protocol, switched off in a copy of the real code: the world must notice, and name what broke.

python tests/simulation/mutants.py [NAME]
"""

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import random
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "functions")]
OURS = ("spool", "world", "fakes", "oracle", "scenes", "explore", "virtual")
RANDOM_PAIRS = 1500


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """edits: (module, text that stands there once, text instead). complaint: how the oracle names what breaks.
    kinds: the faults to try; all where none is named."""

    rule: str
    edits: tuple[tuple[str, str, str], ...]
    scene: str
    complaint: str
    kinds: tuple[str, ...] = ()


def edit(module: str, old: str, new: str) -> tuple[tuple[str, str, str], ...]:
    return ((module, old, new),)


POST_AT_THE_END = """
    for part, text in enumerate(turn.reply.parts if turn.reply else ()):
        for _ in range(4):
            if await persist(lambda: chat.find(key, tag=turn.tag), clock=work.ports.clock):
                break
            try:
                ts = await chat.reserve(key, tag=turn.tag, epoch=turn.epoch, part=part)
                chat._update(ts, text)
                break
            except Ambiguous:
                pass
    return None
"""
LATE_PARTS = """
    slots = turn.slots or ()
    for part, text in enumerate(turn.reply.parts if turn.reply else ()):
        slot = slots[part] if part < len(slots) else await persist(
            lambda p=part: chat.reserve(key, tag=turn.tag, epoch=turn.epoch, part=p), clock=work.ports.clock)
        try:
            await persist(lambda s=slot, t=text: chat.fill(key, s, t), clock=work.ports.clock)
        except Missing:
            return part
    return None
"""
WITHOUT_A_SLOT = "    if len(turn.slots or ()) < len(shown):\n        world.complain('visible without a slot')\n"
SHOWN_LATER = "        asyncio.ensure_future(_fill(work))\n        missing = None\n"
FILL = "    reply = turn.reply\n    for part, (text, slot) in"
EARLY_KEY = """    if work.admission and work.admission._token:
        document = work.admission.document
        try:
            answered = replace(document, answered=tuple(work.book.transcript.keys))
            await work.admission._write(answered, token=work.admission._token)
        except Exception:
            pass
"""

ALONE = 'return "busy" if last and last.state == "open" and last.owner != self._me else "mine"'

TAKE, RUN, BOOK, SLOTS = "spool.turn.take", "spool.turn.run", "spool.turn.book", "spool.turn.slots"
FINISH = "spool.turn.finish"
JOURNAL, DELIVERY, ADMISSION, NOUN = "spool.turn.journal", "spool.turn.delivery", "spool.turn.admission", "spool.transcript"
DECISION, HISTORY = "spool.decision", "spool.history"

MUTANTS: dict[str, Mutant] = {
    "no baton": Mutant(
        rule="R1: what cannot be worked on now is carried by another task",
        edits=edit(TAKE, "    successor = work.task.baton(after=work.me)\n", "    return\n"),
        scene="two",
        complaint="never entered a turn",
    ),
    "no successor": Mutant(
        rule="R1: a hand-over creates the successor first",
        edits=edit(TAKE, "        await _baton(work, delay)\n", "        pass\n"),
        scene="one",
        complaint="a turn is left open",
    ),
    "no word to the queue": Mutant(
        rule="R1: a message that cannot be handed on is answered with 500, and with nothing that throttles the queue",
        edits=edit(TAKE, "raise NotHandedOn(msg)", "raise RuntimeError(msg)"),
        scene="tasks down",
        complaint="the worker answered with RuntimeError",
    ),
    "acked before shown": Mutant(
        rule="R1: the task is acked after the answer is visible",
        edits=edit(
            DELIVERY,
            "        missing = await _fill(work)\n",
            "        asyncio.ensure_future(_fill(work))\n        missing = None\n",
        )
        + edit(DELIVERY, "import logging\n", "import asyncio\nimport logging\n"),
        scene="two",
        complaint="of its parts",
    ),
    "answered key too early": Mutant(
        rule="the answered key is written by nothing but the release after delivery",
        edits=edit(
            DELIVERY, "    turn = work.turn\n    if turn.outcome ==", EARLY_KEY + "    turn = work.turn\n    if turn.outcome =="
        ),
        scene="one",
        complaint="of its parts",
    ),
    "keys ignored": Mutant(
        rule="R2: the keys of the transcript are the dedup set",
        edits=edit(DECISION, "pending.keys() - set(transcript.keys)", "pending.keys()")
        + edit(TAKE, "    known = set(work.book.transcript.keys)\n", "    known = set()\n"),
        scene="two",
        complaint="a message is in two turns",
    ),
    "doubt taken for success": Mutant(
        rule="R2: a commit without a clear answer is read again",
        edits=edit(
            BOOK,
            "            except (Conflict, Ambiguous) as e:\n",
            "            except Ambiguous:\n"
            "                self.generation, self.transcript = self.generation + 1, transcript\n"
            "                return\n"
            "            except Conflict as e:\n",
        ),
        scene="two",
        complaint="a stray message is visible at rest",
    ),
    "blind write": Mutant(
        rule="R2: a commit holds only at its generation",
        edits=edit("fakes", '.get(path, (b"", 0))[1] != generation:', '.get(path, (b"", 0))[1] < 0:'),
        scene="two",
        complaint="ran without a journalled intent",
    ),
    "answer posted": Mutant(
        rule="R3: answer text is never posted, it fills a recorded slot",
        edits=edit(DELIVERY, FILL, POST_AT_THE_END + FILL)
        + edit(DELIVERY, "import BadBlocks,", "import Ambiguous, BadBlocks,")
        + edit(RUN, "        memory.reserving = work.begin(_reserve_first(work, memory))\n", "        pass\n")
        + edit(
            FINISH,
            "            await reserve(work, parts, memory=memory)\n",
            "            memory.ts = dict.fromkeys(range(parts), '0')\n",
        ),
        scene="two",
        complaint="two visible answers",
        kinds=("lost", "late", "freeze"),
    ),
    "part without a recorded slot": Mutant(
        rule="R3: every part's slot is recorded with the reply",
        edits=edit(DELIVERY, FILL, LATE_PARTS + FILL)
        + edit(
            FINISH,
            "            await reserve(work, parts, memory=memory)\n",
            "            parts = 1\n            await reserve(work, parts, memory=memory)\n",
        )
        + edit("oracle", "    if [len(s) for s in shown]", WITHOUT_A_SLOT + "    if [len(s) for s in shown]"),
        scene="parts",
        complaint="visible without a slot",
    ),
    "no epochs": Mutant(
        rule="R4, rule G: only messages of an epoch that is over are garbage",
        edits=edit(
            DECISION, "(message.epoch < turn.epoch or (message.epoch == turn.epoch and settled))", "message.epoch != turn.epoch"
        ),
        scene="two",
        complaint="a visible answer was deleted",
        kinds=("crash_after", "freeze"),
    ),
    "no tidy": Mutant(
        rule="what lands late is deleted by the tidy task",
        edits=edit(
            DELIVERY,
            "        if is_garbage(message, work.book.transcript):\n            await delete(work, message.ts)\n",
            "        pass\n",
        ),
        scene="two",
        complaint="a stray message is visible at rest",
    ),
    "tainted slot": Mutant(
        rule="a message on which a progress text may still land carries no answer",
        edits=edit(SLOTS, "memory.tainted = memory.messy = True", "memory.messy = True"),
        scene="two",
        complaint="a visible answer was overwritten",
    ),
    "all slots dropped": Mutant(
        rule="a lost slot keeps those before it, which may be visible",
        edits=edit(NOUN, "slots=slots[:part] + (None,) * (len(slots) - part)", "slots=(None,) * len(slots)"),
        scene="parts",
        complaint="a visible answer was deleted",
    ),
    "parts in reverse": Mutant(
        rule="parts are reserved in order",
        edits=edit(
            SLOTS,
            "memory.ts[missing[0]] = await chat.reserve(key, tag=turn.tag, epoch=turn.epoch, part=missing[0])",
            "memory.ts[missing[-1]] = await chat.reserve(key, tag=turn.tag, epoch=turn.epoch, part=missing[-1])",
        )
        + edit(RUN, "        memory.reserving = work.begin(_reserve_first(work, memory))\n", "        pass\n"),
        scene="parts",
        complaint="wrong order",
    ),
    "tool again": Mutant(
        rule="R5: an unanswered at-most-once call is unknown to whoever goes on",
        edits=edit(NOUN, "unknown=(*self.unknown, *lost)", "unknown=self.unknown"),
        scene="two",
        complaint="an at-most-once tool ran twice",
    ),
    "undeclared is idempotent": Mutant(
        rule="R5: an undeclared tool runs at most once",
        edits=edit("spool.agents", 'self.tools.get(tool_name) or "at_most_once"', 'self.tools.get(tool_name) or "idempotent"'),
        scene="one",
        complaint="an at-most-once tool ran twice",
    ),
    "no intent": Mutant(
        rule="R5: a response is committed before its tools run",
        edits=edit(
            JOURNAL,
            "                self._is_deliverable()\n                await self._commit()\n",
            "                self._is_deliverable()\n",
        ),
        scene="one",
        complaint="ran without a journalled intent",
    ),
    "returns forgotten": Mutant(
        rule="R5: after a re-admission the same process remembers what its tools returned",
        edits=edit(JOURNAL, "        had = self.memory.returns.get(key)\n", "        had = None\n"),
        scene="one",
        complaint="an at-most-once tool ran twice",
    ),
    "returns lost by a hand-over": Mutant(
        rule="returns in hand are committed before a hand-over",
        edits=edit(RUN, "        await journal.keep()\n", "        pass\n")
        + edit(JOURNAL, "self.early = asyncio.create_task(self._commit())", "pass"),
        scene="long",
        complaint="a hand-over lost what its tools returned",
    ),
    "no early commit": Mutant(
        rule="the returns of at-most-once calls are committed beside the next model call",
        edits=edit(JOURNAL, "self.early = asyncio.create_task(self._commit())", "pass"),
        scene="killed while it thinks",
        complaint="a hand-over lost what its tools returned",
    ),
    "half a round": Mutant(
        rule="only complete rounds become history",
        edits=edit(HISTORY, "steps = turn.steps[:-1] if _ends_unseen(turn) else turn.steps", "steps = turn.steps"),
        scene="poison after its tools",
        complaint="an incomplete round became history",
    ),
    "attempts never reset": Mutant(
        rule="a new step ends the count of attempts",
        edits=edit(JOURNAL, "steps=tuple(self.steps), attempts=0)", "steps=tuple(self.steps))"),
        scene="storm",
        complaint="a healthy message was given up",
    ),
    "attempts always reset": Mutant(
        rule="a take-over without a new step counts",
        edits=edit(NOUN, "attempts=turn.attempts + 1)", "attempts=0)"),
        scene="poison",
        complaint="retried for ever",
    ),
    "hand-overs counted": Mutant(
        rule="only a lease found held counts as an attempt",
        edits=edit(TAKE, "died=admission.took and work", "died=work"),
        scene="slow trouble",
        complaint="a healthy message was given up",
    ),
    "no isolation": Mutant(
        rule="the second death in a row keeps only the first message",
        edits=edit(NOUN, "died and turn.attempts >= 1 and len", "False and len"),
        scene="poison in a batch",
        complaint="a healthy message went down with the poison",
    ),
    "no end to the model's trouble": Mutant(
        rule="an hour of the model's trouble ends with the apology",
        edits=edit("spool.turn.work", "GIVE_UP = 3600.0", "GIVE_UP = 1e12"),
        scene="model dead",
        complaint="did not come to rest",
    ),
    "refusal not believed": Mutant(
        rule="a reservation refused for good ends the turn as undeliverable",
        edits=edit(FINISH, '        outcome, slots = "undeliverable", ()\n', "        pass\n")
        + edit(DELIVERY, "        await _undeliverable(work, e)\n        return\n", "        raise HandOver(str(e)) from e\n")
        + edit(
            DELIVERY,
            "from spool.turn.finish import bury\n",
            "from spool.turn.finish import bury\nfrom spool.turn.signals import HandOver\n",
        ),
        scene="archived",
        complaint="did not come to rest",
    ),
    "turn known by its number": Mutant(
        rule="`delivered` names the turn and its owner",
        edits=edit(NOUN, "return (self.id, self.owner)", 'return (self.id, "")'),
        scene="erased",
        complaint="of its parts",
    ),
    "tag without a key": Mutant(
        rule="a turn's tag holds the key of its first message",
        edits=edit(NOUN, 'return f"{self.id}:{self.messages[0].key}"', "return self.id"),
        scene="erased",
        complaint="two visible answers",
    ),
    "mail swallowed": Mutant(
        rule="whoever refreshes the token takes the mail",
        edits=edit(ADMISSION, "self._token, self._document = seen.token, seen.document\n", "self._token = seen.token\n"),
        scene="two",
        complaint="late without a fault",
    ),
    "two in one epoch": Mutant(
        rule="R4: a take-over raises the epoch",
        edits=edit(NOUN, "owner=by, epoch=self.epoch + 1, slots=None", "owner=by, epoch=self.epoch, slots=None"),
        scene="two",
        complaint="a visible answer was overwritten",
    ),
    "answers out of order": Mutant(
        rule="the answer of a turn is shown before the next is opened",
        edits=edit(
            DECISION,
            'last.state == "done" and not last.delivered',
            'last.state == "done" and not pending.keys() - set(transcript.keys) and not last.delivered',
        ),
        scene="two",
        complaint="visible before an earlier one",
    ),
    "waits for the document": Mutant(
        rule="after 5 s without the document a message goes on",
        edits=edit(ADMISSION, "return await self._judge_alone(book)", 'raise HandOver("no document")'),
        scene="documents away",
        complaint="late without a fault",
    ),
    "waits for the last call to it": Mutant(
        rule="the 5 s count where a call just hangs, too",
        edits=edit(ADMISSION, "DOCUMENT_SECONDS = 5.0", "DOCUMENT_SECONDS = 500.0"),
        scene="documents away",
        complaint="late without a fault",
    ),
    "taken over without a lease": Mutant(
        rule="without a lease nothing is taken over: nobody could count the deaths",
        edits=edit(ADMISSION, ALONE, 'return "mine"'),
        scene="poison while the documents are away",
        complaint="retried for ever",
    ),
    "no baton without a lease": Mutant(
        rule="R1: what is open under another owner is carried by another task",
        edits=edit(ADMISSION, ALONE, ALONE.replace("busy", "not for us")),
        scene="documents away",
        complaint="never entered a turn",
    ),
    "delivery believed without a lease": Mutant(
        rule="what nobody can say was shown is shown again",
        edits=edit(
            ADMISSION,
            "        " + ALONE,
            "        self._document = Document(delivered=last.mark if last else None)\n        " + ALONE,
        ),
        scene="documents away",
        complaint="of its parts",
        kinds=("crash_after",),
    ),
    "silence fences": Mutant(
        rule="a document that does not answer fences nobody who goes on without a lease",
        edits=edit(ADMISSION, "return self._token is None and not self.without_lease", "return self._token is None"),
        scene="documents away",
        complaint="late without a fault",
    ),
    "a silent heartbeat fences": Mutant(
        rule="a heartbeat without an answer does not fence",
        edits=edit(
            ADMISSION,
            "                if await self._refresh():\n",
            "                self._token = None\n                if await self._refresh():\n",
        ),
        scene="documents away in a turn",
        complaint="late without a fault",
    ),
    "no lease in mid-turn": Mutant(
        rule="when the document answers again, who works without a lease takes one",
        edits=edit(ADMISSION, "        if not self.without_lease:\n", "        if True:\n"),
        scene="documents back in a turn",
        complaint="late without a fault",
    ),
    "a lease for what is answered": Mutant(
        rule="no lease is taken for a message that another has answered meanwhile",
        edits=edit(ADMISSION, "if seen and self._envelope.key in seen.document.answered", "if False"),
        scene="hangs while it thinks",
        complaint="an answered message waits in the inbox",
        kinds=("freeze",),
    ),
    "named before it is stored": Mutant(
        rule="what is large is stored before a transcript names it",
        edits=edit(
            BOOK,
            "await persist(lambda b=blob: self._transcripts.keep(b.data, media_type=b.media_type), clock=self._clock)",
            "asyncio.ensure_future(self._transcripts.keep(blob.data, media_type=blob.media_type))",
        ),
        scene="large",
        complaint="names what is not stored",
    ),
    "acked before it rests": Mutant(
        rule="an attempt has nothing under way at Slack when its task is acked",
        edits=edit(TAKE, "        await work.rest()\n", "        pass\n"),
        scene="one",
        complaint="asked for something after the ack",
    ),
    "nobody sweeps": Mutant(
        rule="a lease that ran out has its conversation gone on with",
        edits=edit(
            "spool.turn.sweep",
            "        await _take_away(key, ports)\n        return False\n",
            "        pass\n    return False\n",
        ),
        scene="hangs while it thinks",
        complaint="late without a fault",
    ),
    "the living are swept": Mutant(
        rule="a sweep leaves leases alone that still hold",
        edits=edit("spool.turn.sweep", "OVERDUE = 30.0", "OVERDUE = -50.0"),
        scene="long and swept",
        complaint="although nobody hung",
    ),
}


class _Edited(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads our modules from their files, with the edits; each must fit exactly once."""

    def __init__(self, edits: Sequence[tuple[str, str, str]]) -> None:
        self._edits = edits

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        del target
        if name not in {module for module, _, _ in self._edits}:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        return importlib.util.spec_from_file_location(name, found.origin, loader=self) if found and found.origin else None

    def create_module(self, spec: Any) -> None:
        del spec

    def exec_module(self, module: ModuleType) -> None:
        source = Path(str(module.__file__)).read_text()
        for name, old, new in self._edits:
            if name == module.__name__:
                if source.count(old) != 1:
                    msg = f"{name} holds {source.count(old)} times: {old}"
                    raise AssertionError(msg)
                source = source.replace(old, new)
        exec(compile(source, str(module.__file__), "exec"), module.__dict__)  # noqa: S102 - our own source, edited


@contextmanager
def planted(edits: Sequence[tuple[str, str, str]]) -> Generator[ModuleType]:
    """The simulation over a copy of Spool with these edits; the real modules come back afterwards."""
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in OURS}
    for name in kept:
        del sys.modules[name]
    finder = _Edited(edits)
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module("explore")
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
            del sys.modules[name]
        sys.modules.update(kept)


def plans(rpcs: int, kinds: Sequence[str]) -> Iterator[Mapping[int, str]]:
    """No fault, every single one, then pairs at random."""
    yield {}
    yield from ({i: kind} for i in range(rpcs) for kind in kinds)
    rng = random.Random(1)
    for _ in range(RANDOM_PAIRS):
        yield {rng.randrange(rpcs + 10): rng.choice(kinds) for _ in (1, 2)}


def hunt(mutant: Mutant) -> tuple[int, Mapping[int, str], list[str]]:
    """Run the mutant until the oracle names what it breaks: how many runs it took, the plan, the complaints."""
    with planted(mutant.edits) as explore:
        script = explore.SCENES[mutant.scene]
        rpcs = explore.one({}, explore.SCENES[mutant.scene])[0].rpc_count
        for n, plan in enumerate(plans(min(rpcs, 200), mutant.kinds or explore.KINDS), 1):
            wrong = explore.one(plan, script)[1]
            if any(mutant.complaint in complaint for complaint in wrong):
                return n, plan, wrong
    return RANDOM_PAIRS, {}, []


def main(names: Sequence[str]) -> int:
    logging.disable(logging.CRITICAL)
    gc.freeze()
    caught = 0
    for name in names or MUTANTS:
        n, plan, wrong = hunt(MUTANTS[name])
        caught += bool(wrong)
        print(f"{'caught' if wrong else 'SURVIVES':9} {name:32} after {n:4} runs  {plan or ''} {wrong[:2]}", flush=True)  # noqa: T201
    print(f"{caught} of {len(list(names or MUTANTS))} caught")  # noqa: T201
    return caught != len(list(names or MUTANTS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
