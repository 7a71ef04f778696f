"""The turn protocol as an explicit-state model: one conversation, every interleaving, a budget of K faults.

Plain Python, searched breadth first, so a violation comes with a shortest trace.  The model knows one conversation: its tasks, its
Firestore document, its transcript T, its Slack messages, and a few workers, each a program counter with a little memory.
Everything a worker does is a step, and a step is one request; between any two steps anything else may happen.  On top of that a shared
budget of K faults is spent wherever it hurts most:

    crash     the worker is gone; its task is delivered again
    term      SIGTERM: returns in hand are committed (once, no retry), then successor task, lease away, 200
    dup       a task is delivered twice
    expire    a lease runs out while its holder lives (a zombie; pauses and clock skew are this).  A dead holder's runs out for free
    lost      the request took effect, its answer was lost
    late      the request timed out and takes effect at any later time
    wipe      the conversation's document is lost
    restore   it goes back to an older one: any lease, any inbox, fewer answered keys (it forgets, it never invents)
    away      it does not answer anybody (what is written may take effect all the same), until it answers again, at any time, for free
    userdel   a user deletes a placeholder
    refused   Slack refuses a post or a final update for good (is_archived, channel_not_found, ...)
    failed    a reservation's retries are used up

A worker that owns an open turn does up to three things at once, as the real one does:

    the run           first model call (RUN) -> the response that asks for the tool is committed (INTENT) -> the at-most-once tool
                      runs (EXEC) -> next model call (RUN2) -> FINISH
    early commit      the tool's return is committed as a step of its own, beside the next model call; only FINISH waits for it
    the reservation   [look up and clean] -> post part 1.  It begins when OPEN's or RESUME's commit is known to have succeeded; only
                      FINISH and progress texts wait for it.  Further parts are posted once the reply is there

Where a commit of the run comes back with anything but a clean yes while a reservation may be in flight, AWAIT covers each way to go on:
it was not sent yet and is dropped, it is awaited, it goes on beside the admission, it is cancelled in flight and counts as ambiguous.
A crash and a SIGTERM may leave it in flight, too.

Where the document does not answer, a worker goes on without a lease (LOAD with NOLEASE): it knows of no message but its own, of no
answered key and of no delivery; T arbitrates alone.  What T shows to be open under another owner becomes a baton: nothing is taken over,
nothing is counted.  When the document answers again in the middle of the turn, the worker may take a free lease, or stay without.

What was made smaller, without losing an interleaving that matters: a model call changes nothing, so FINISH stands for "the next model
call runs", and RUN2 is a step of its own only where it kills (`poison2`).  A progress text is mere words on a placeholder; it matters
on an answer (S7), or where it is ambiguous (the taint).  Deletes happen with the lookup that found them (what rule G calls garbage stays
garbage).  See also `forget` and `Model.canon`.  Not in the model: more than one tool round, the return of an unknown call committed as a
step, ingress, a refused lookup or delete, OWNED per turn (here per worker).

State, nested tuples, canonical up to owners' names, the order of workers and of requests in flight:

    tasks    per message, the number of queued deliveries (their order is free)
    conv     the document: (lease's owner or 0, expired, inbox mask, answered mask)
    T        the transcript: turns, each (messages, owner, epoch, tool, state, slots, shown, attempts)
                 tool      0 no step, 1 a response with a tool call committed, 2 its return too, 3 the call is in `unknown`
                 state     0 open, 1 answered, 2 failed (apology), 3 undeliverable
                 slots     () until the finish, then per part the index of its Slack message, or -1 (null)
                 shown     0 not known, 1 T says delivered, 2 not known and messy (strays are possible)
                 attempts  take-overs since the last new step
    slack    messages, each (turn's index, epoch, part, content: 0 placeholder, 1 progress over an answer, 2 final, 3 deleted)
    net      late requests: (0, message) a post, (1, index, content) an update, (2, T before, T after) a commit
    workers  each (pc, task's message, owner id, T as read, pending mask, own reserved messages, flags, answered as read)
    K        faults left
    tool     runs of the at-most-once tool per turn
    tidy     1 once a tidy task was created (it fires after every older request has died)
    away     1 while the document answers nobody

A commit compares the worker's T with the present one.  Every commit moves T strictly on, so equal content is equal generation.

Checked in every state: S1 no message in two turns, S2 never two visible answers for a turn and part, S3 an answer is visible only in its
recorded slot, S4 answers and parts become visible in order, S5 the tool runs at most once, S6 a call whose return was committed, or was in
hand at a hand-over, is never called unknown, S7 a visible answer is never overwritten or deleted, S8 no turn is taken over for ever.
Where everything has come to rest: T1 every acked message is in a turn, T2 no turn is open, T3 each turn shows exactly its parts (an
undeliverable one at most), T4 no stray is left (but a slot that Slack refused to fill), T5 no healthy message was given up.
EF, from every reachable state: a good end can be reached without further faults (not asked of `chaos`,
which stops admitting at `maxepoch`).

    python tests/model/model.py -K 1 --ef
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Turn = tuple[int, int, int, int, int, tuple[int, ...], int, int]
Transcript = tuple[Turn, ...]
Slack = tuple[tuple[int, int, int, int], ...]
State = tuple[Any, ...]

MSGS, OWNER, EPOCH, TOOL, STATE, SLOTS, SHOWN, ATTEMPTS = range(8)  # a turn
TURN, AGE, PART, CONTENT = range(4)  # a Slack message; AGE is the epoch it was posted in
OPENED, ANSWERED, FAILED, UNDELIVERABLE = range(4)  # a turn's state

PCS = (
    "ADMIT BATON LOAD RESUME OPEN RUN INTENT EXEC RUN2 FINISH AWAIT UPDATE UPDATE2 RECLAIM LOOKUP REPOST RESLOT REFUSE "
    "CLEAN TIDY RELEASE REL2 ACK SELFDEL KEEP HANDOVER HRELEASE POSTFINAL LOOKFINAL"
).split()
(ADMIT, BATON, LOAD, RESUME, OPEN, RUN, INTENT, EXEC, RUN2, FINISH, AWAIT, UPDATE, UPDATE2, RECLAIM, LOOKUP, REPOST, RESLOT, REFUSE,
 CLEAN, TIDY, RELEASE, REL2, ACK, SELFDEL, KEEP, HANDOVER, HRELEASE, POSTFINAL, LOOKFINAL) = range(len(PCS))  # fmt: skip
RUNNING = {RUN, INTENT, EXEC, RUN2, FINISH}  # where a progress text may be sent
BESIDE = {RUN, INTENT, EXEC, RUN2, FINISH, AWAIT, ADMIT, LOAD}  # where the reservation runs beside the worker's own step
LAST = {BATON, ACK, HANDOVER, HRELEASE, REL2}  # only the task's message and the owner matter any more
DELIVERING = {UPDATE, UPDATE2, RECLAIM, LOOKUP, REPOST, RESLOT, REFUSE}  # the last turn is done
BETWEEN = {CLEAN, TIDY, RELEASE, OPEN, RESUME}  # nothing that is remembered of a turn matters any more
LEAVING = {BATON, ACK, KEEP, HANDOVER, HRELEASE}  # a SIGTERM changes nothing any more

# a worker's flags
MESSY = 1  # strays of this turn are possible, by what this worker saw
DIDEX = 2  # the run is through its tool (without tools: its model call); the return is in hand
BUSY = 4  # after SELFDEL: go and make a baton
DELIV = 8  # the last turn is known to be delivered
TAINT = 16  # a progress text may still land on the reserved message
OWNED = 32  # this delivery owned (or tried to own) the turn already
DONE = 64  # after SELFDEL: the message is answered, 200
TOOK = 128  # the lease was found held, or there was no document: this is a take-over
LOOK, POST = 256, 512  # the reservation's next request
GAVEUP = 1024  # the reservation's retries are used up
REFUSED = 2048  # Slack refused the reservation for good
TRIED = 4096  # a finish of this turn was sent: it may land at any time, so no progress text any more
NOLEASE = 8192  # the document did not answer: this worker goes on without a lease
LANE = LOOK | POST
ABOUT_TURN = DIDEX | TAINT | GAVEUP | REFUSED | TRIED | LANE  # memory of one (turn, epoch), dropped when that changes

FAULTS = "crash term dup expire lost late wipe restore away userdel refused failed".split()
HARMLESS = {"term", "dup", "userdel", "refused", "failed"}  # under these alone a return in hand always gets committed


@dataclass
class Cfg:
    """What is searched: sizes, the budget of faults, and (`mut`) the rules that are switched off."""

    K: int = 2
    nmsg: int = 2
    nwork: int = 2
    parts: int = 1  # parts of a reply, at most 2
    tool: bool = True  # every turn runs one at-most-once tool
    stream: bool = True  # the owner may show one progress text
    poison: int = 0  # mask of messages that kill the worker in the first model call
    poison2: int = 0  # mask of messages that kill it in the model call after the tool, beside the early commit
    maxatt: int = 3  # take-overs without a new step that end the turn (the product: 5)
    archived: bool = False  # Slack refuses every post from the beginning
    back: bool = True  # a document that does not answer comes back
    chaos: bool = False  # Firestore is an adversary: no mutual exclusion, any inbox, forgets at will
    maxepoch: int = 3  # chaos only: admissions stop at this epoch
    bound: int = 40  # S8: no turn gets this old
    faults: set[str] = field(default_factory=lambda: set(FAULTS))
    mut: set[str] = field(default_factory=set)


class Violation(Exception):
    """A property does not hold; the message begins with its name."""


def sub(slack: Slack, *changes: tuple[int, int]) -> Slack:
    """Slack with the content of some messages replaced."""
    out = list(slack)
    for j, c in changes:
        out[j] = (*out[j][:CONTENT], c)
    return tuple(out)


def keys(T: Transcript) -> int:
    """The messages of all turns."""
    k = 0
    for t in T:
        k |= t[MSGS]
    return k


def garbage(x: tuple[int, ...], j: int, T: Transcript) -> bool:
    """Rule G: message x (index j) may be deleted by anyone who has read T, even a stale T.

    No slot names it and its epoch is older than the turn's; or equal, and the turn is done with every slot recorded.  An undeliverable
    turn has none left to record, so it is always "every".
    """
    if x[TURN] >= len(T):
        return False
    t = T[x[TURN]]
    return j not in t[SLOTS] and (x[AGE] < t[EPOCH] or (x[AGE] == t[EPOCH] and t[STATE] != OPENED and -1 not in t[SLOTS]))


def forget(worker: tuple[Any, ...]) -> tuple[Any, ...]:
    """The worker without what cannot matter from where it stands, so that states that behave alike are one."""
    pc, m, me, snap, pend, own, fl, ans = worker
    if fl & OWNED:
        fl &= ~TOOK
    if pc in LAST or (pc == SELFDEL and fl & (BUSY | DONE)):
        return (pc, m, me, None, 0, own if pc == SELFDEL else (), fl & (BUSY | DONE), 0)
    if pc in (ADMIT, AWAIT):
        return (pc, m, me, snap, 0, own, fl & ~(DELIV | NOLEASE), ans)
    if pc in DELIVERING:
        return (pc, m, me, snap, pend, own, fl & ~(DIDEX | GAVEUP | REFUSED | TRIED), ans)
    if pc in BETWEEN:
        return (pc, m, me, snap, pend, own if pc == OPEN else (), fl & (DELIV | OWNED | TOOK | NOLEASE), ans)
    return (pc, m, me, snap, pend, own, fl, ans)


SAME: Any = object()


class Step:
    """One worker in one state, and the ways it can go on."""

    __slots__ = (
        *(
            "K",
            "T",
            "W",
            "ans",
            "away",
            "conv",
            "faults",
            "fl",
            "m",
            "me",
            "mut",
            "net",
            "out",
            "own",
            "pc",
            "pend",
            "rest",
            "slack",
            "snap",
        ),
        *("tasks", "tidy", "tool"),
    )

    def __init__(self, s: State, i: int, faults: Any, mut: set[str], out: list[tuple[str, State]]) -> None:
        self.tasks, self.conv, self.T, self.slack, self.net, workers, self.K, self.tool, self.tidy, self.away = s
        self.rest = workers[:i] + workers[i + 1 :]
        self.pc, self.m, self.me, self.snap, self.pend, self.own, self.fl, self.ans = workers[i]
        self.W = f"w{self.me}(m{self.m + 1}) {PCS[self.pc]} "
        self.faults, self.mut, self.out = faults, mut, out

    def go(
        self,
        label: str,
        pc: int,
        *,
        snap: Any = SAME,
        pend: int = SAME,
        own: Any = SAME,
        fl: int = SAME,
        ans: int = 0,
        **world: Any,
    ) -> None:
        """The worker goes on to `pc` with what it now remembers; `world` is what the step changed around it."""
        snap, pend = self.snap if snap is SAME else snap, self.pend if pend is SAME else pend
        own, fl = self.own if own is SAME else own, self.fl if fl is SAME else fl
        worker = (pc, self.m, self.me, snap, pend, own, fl, ans)
        self.emit(label, (*self.rest, worker if "stale_local" in self.mut else forget(worker)), world)

    def fault(self, label: str, pc: int, **changes: Any) -> None:
        """The same, paid from the budget."""
        self.go("FAULT " + label, pc, K=self.K - 1, **changes)

    def gone(self, label: str, **world: Any) -> None:
        """The worker ends here."""
        self.emit(label, self.rest, world)

    def emit(self, label: str, workers: tuple[Any, ...], world: dict[str, Any]) -> None:
        g = world.get
        s = (
            *(g("tasks", self.tasks), g("conv", self.conv), g("T", self.T), g("slack", self.slack), g("net", self.net)),
            *(workers, g("K", self.K), g("tool", self.tool), g("tidy", self.tidy), self.away),
        )
        self.out.append((self.W + label, s))

    def queued(self) -> tuple[int, ...]:
        """The tasks with one more delivery of this worker's message."""
        return (*self.tasks[: self.m], self.tasks[self.m] + 1, *self.tasks[self.m + 1 :])

    def posted(self, part: int, content: int = 0) -> tuple[int, ...]:
        """The message that this worker posts for a part of its turn."""
        return (len(self.snap) - 1, self.snap[-1][EPOCH], part, content)

    def reenter(self, label: str, **changes: Any) -> None:
        """Ownership in doubt: admission, reload, decide again; a reservation in flight is waited for (or worse: AWAIT) first."""
        fl = changes.pop("fl", self.fl)
        if fl & LANE:
            self.go(label, AWAIT, fl=fl, **changes)
        else:
            self.go(label, ADMIT, snap=None, fl=fl & ~LANE, **changes)

    def cas(
        self,
        new: Transcript,
        pc: int,
        label: str,
        *,
        fl: int = SAME,
        own: Any = SAME,
        fl_no: int = SAME,
        begin: int = 0,
        **world: Any,
    ) -> None:
        """Compare-and-set on the transcript; anything but a clean yes leads to re-admission.

        `fl` is what the worker remembers where the commit took effect, `fl_no` where it did not; `begin` what a clean yes sets going.
        """
        fl = self.fl if fl is SAME else fl
        fl_no = fl if fl_no is SAME else fl_no
        if "nocas" in self.mut:
            self.go(label + " blind", pc, snap=new, T=new, fl=fl | begin, own=own, **world)
            return
        if self.T != self.snap:
            self.reenter(label + " 412", fl=fl_no, own=own)
            return
        self.go(label + " ok", pc, snap=new, T=new, fl=fl | begin, own=own, **world)
        if "lost" in self.faults:
            if "ambig412" in self.mut:
                text = label + " ok, response lost -> own retry 412 -> 'somebody else won'"
                self.fault(text, SELFDEL, snap=None, T=new, fl=(fl & ~LANE) | BUSY, own=own, **world)
            else:
                self.reenter("FAULT " + label + " ok but response lost", T=new, K=self.K - 1, fl=fl, own=own, **world)
        if "late" in self.faults:
            late = (*self.net, (2, self.T, new))
            self.reenter("FAULT " + label + " timed out, lands later", K=self.K - 1, fl=fl_no, own=own, net=late, **world)


class Model:
    """The rules: one method per step of a worker, `around` for everything that is not a worker."""

    def __init__(self, cfg: Cfg) -> None:
        self.c, self.mut = cfg, cfg.mut
        self.full = (1 << cfg.nmsg) - 1
        other = {"AWAIT": "awaited", "UPDATE2": "update", "LOOKUP": "relook"}
        self.steps = {pc: getattr(self, other.get(name, name.lower())) for pc, name in enumerate(PCS)}

    def init(self) -> State:
        """Every message has one task, nothing else is there."""
        return ((1,) * self.c.nmsg, (0, 0, 0, 0), (), (), (), (), self.c.K, (0,) * self.c.nmsg, 0, 0)

    def canon(self, s: State) -> State:
        """The one state that stands for all that behave alike.

        Owners are renamed in the order they are met, workers and requests in flight sorted, requests that can have no effect any more
        dropped; so are deleted messages that nobody refers to, and messages are sorted by turn and epoch (Slack's order counts within
        one epoch only; a kept slot of an older epoch was posted before any message of a newer one).
        """
        tasks, conv, T, slack, net, workers, K, tool, tidy, away = s
        if net:
            net = [x for x in net if x[0] == 0 or (x[1] == T if x[0] == 2 else slack[x[1]][CONTENT] not in (3, x[2]))]
        order = self.order(s, net)
        m = {0: 0}

        def r(n: int) -> int:
            v = m.get(n)
            if v is None:
                v = m[n] = len(m)
            return v

        def rt(X: Transcript) -> Transcript:
            if order is None:
                return tuple([(t[0], r(t[1]), *t[2:]) for t in X])
            return tuple([(t[0], r(t[1]), *t[2:5], tuple([order[j] for j in t[5]]), *t[6:]) for t in X])

        T = rt(T)
        if conv[0]:
            conv = (r(conv[0]), *conv[1:])
        if order is not None:
            slack = tuple([slack[j] for j in sorted(order, key=order.__getitem__) if j >= 0])
            workers = [(*w[:5], tuple([order[j] for j in w[5]]), *w[6:]) for w in workers]
            net = [(1, order[x[1]], x[2]) if x[0] == 1 else x for x in net]
        if len(workers) > 1:
            workers = sorted(workers, key=lambda w: (w[0], w[1], w[4], w[5], w[6], w[7], m.get(w[2], 99)))
        ws = []
        for w in workers:
            n = r(w[2])
            ws.append((w[0], w[1], n, None if w[3] is None else rt(w[3]), *w[4:]))
        if net:
            net = sorted([x if x[0] <= 1 else (2, rt(x[1]), rt(x[2])) for x in net])
        return (tasks, conv, T, slack, tuple(net), tuple(ws), K, tool, tidy, away)

    @staticmethod
    def order(s: State, net: Any) -> dict[int, int] | None:
        """The new index of each message that is worth remembering (-1 stays -1); None where all stay as they are."""
        slack = s[3]
        deleted = [j for j, x in enumerate(slack) if x[CONTENT] == 3]
        if not deleted and all(a[:2] <= b[:2] for a, b in pairwise(slack)):
            return None
        used = {-1}
        for X in (s[2], *(w[3] or () for w in s[5]), *(y for x in net if x[0] == 2 for y in x[1:])):
            for t in X:
                used.update(t[SLOTS])
        for w in s[5]:
            used.update(w[5])
        used.update(x[1] for x in net if x[0] == 1)
        left = sorted((j for j in range(len(slack)) if slack[j][CONTENT] != 3 or j in used), key=lambda j: slack[j][:2])
        return {-1: -1} | {j: i for i, j in enumerate(left)}

    @staticmethod
    def fresh(s: State) -> int:
        """An owner id that nobody has."""
        used = {0, s[1][0], *(w[2] for w in s[5])}
        for X in [s[2], *(w[3] or () for w in s[5]), *(y for x in s[4] if x[0] == 2 for y in x[1:])]:
            used.update(t[OWNER] for t in X)
        n = 1
        while n in used:
            n += 1
        return n

    # ---------------------------------------------------------------- decisions

    def decide(self, me: int, pend: int, T: Transcript, fl: int) -> int:
        """The worker's pure decision on T: where to go on."""
        if T:
            last = T[-1]
            if last[STATE] and last[SHOWN] != 1 and not fl & DELIV:
                if "order" in self.mut and pend & ~keys(T):
                    return OPEN
                if last[STATE] != UNDELIVERABLE:
                    return UPDATE if "postatend" not in self.mut else LOOKFINAL
                if "refusedblocks" in self.mut:
                    return RECLAIM
                if (last[SHOWN] == 2 or last[EPOCH] > 1) and "refuseddirty" not in self.mut:
                    return CLEAN  # nothing to show, but strays to remove; then it counts as delivered
            if last[STATE] == OPENED:
                return RESUME if last[OWNER] != me else self.onward(last, fl)
        return OPEN if self.left(pend, T) else RELEASE

    def left(self, pend: int, T: Transcript) -> int:
        """What is pending and in no turn (fsdedup: only Firestore knows what is done)."""
        return pend & ~keys(T) if "fsdedup" not in self.mut else pend

    def onward(self, turn: Turn, fl: int) -> int:
        """The run's next step in an open turn of mine."""
        if fl & REFUSED or turn[ATTEMPTS] >= self.c.maxatt:
            return FINISH
        if not fl & DIDEX:
            if turn[TOOL] == 0:
                return RUN
            if turn[TOOL] == 1:
                return EXEC
        return RUN2 if turn[MSGS] & self.c.poison2 else FINISH

    def lane(self, turn: Turn, own: tuple[int, ...], fl: int, pc: int) -> int:
        """The flags with the reservation's next request, where the run stands at `pc`."""
        if fl & (LANE | TAINT | GAVEUP | REFUSED) or "postatend" in self.mut:
            return fl
        if not own:
            return fl | LOOK  # own turn, re-admitted: look before posting
        need = 1 if turn[ATTEMPTS] >= self.c.maxatt or "latepart" in self.mut else self.c.parts
        return fl | POST if pc == FINISH and len(own) < need else fl

    def lookup(self, slack: Slack, snap: Transcript, base: int) -> tuple[Slack, tuple[int, ...]]:
        """conversations.replies by metadata: garbage goes; of my own messages of this epoch stay those that give the parts from `base`
        on, one of each, in Slack's order and without a gap; my others go."""
        k, e = len(snap) - 1, snap[-1][EPOCH]
        slots = snap[-1][SLOTS]
        gone = [
            (j, 3)
            for j, x in enumerate(slack)
            if x[TURN] == k and x[CONTENT] != 3 and (garbage(x, j, snap) if "unfenced" not in self.mut else x[AGE] != e)
        ]
        mine = [j for j, x in enumerate(slack) if x[TURN] == k and x[AGE] == e and x[CONTENT] < 2 and j not in slots]
        own: list[int] = []
        last = slots[base - 1] if 0 < base <= len(slots) else -1
        while True:
            c = [j for j in mine if slack[j][PART] == base + len(own) and (j > last or "partorder" in self.mut)]
            if not c:
                break
            last = c[0]
            own.append(last)
        gone += [(j, 3) for j in mine if j not in own]
        return sub(slack, *gone), tuple(own)

    # ---------------------------------------------------------------- successors

    def succ(self, s: State) -> list[tuple[str, State]]:
        """Every state that one step leads to, with the step's label."""
        out: list[tuple[str, State]] = []
        faults = self.c.faults if s[6] > 0 else ()
        self.around(s, faults, out)
        for i in range(len(s[5])):
            x = Step(s, i, faults, self.mut, out)
            self.interrupted(x)
            if x.pc in BESIDE:
                if x.fl & LANE:
                    self.reservation(x)
                elif x.own and x.pc in RUNNING and self.c.stream and (not x.fl & TRIED or "lateprogress" in self.mut):
                    self.show(x)
                if x.pc in (RUN2, FINISH) and x.fl & DIDEX and x.snap[-1][TOOL] == 1:
                    self.early(x, x.pc)
            if x.fl & NOLEASE and not x.away:
                self.heartbeat(x)
            self.steps[x.pc](x)
        return out

    def around(self, s: State, faults: Any, out: list[tuple[str, State]]) -> None:
        """Dispatch, the clock, Firestore's faults, users, and late requests."""
        c = self.c
        tasks, conv, T, slack, net, workers, K, tool, tidy, away = s

        def add(label: str, **kw: Any) -> None:
            g = kw.get
            new = (g("tasks", tasks), g("conv", conv), g("T", T), g("slack", slack), g("net", net), g("workers", workers))
            out.append((label, (*new, g("K", K), tool, tidy, g("away", away))))

        def more(m: int, d: int) -> tuple[int, ...]:
            return (*tasks[:m], tasks[m] + d, *tasks[m + 1 :])

        if len(workers) < c.nwork:
            for m in range(c.nmsg):
                if tasks[m]:
                    worker = (ADMIT, m, self.fresh(s), None, 0, (), 0, 0)
                    add(f"dispatch m{m + 1}", tasks=more(m, -1), workers=(*workers, worker))
        if conv[0] and not conv[1]:
            if away or not any(w[2] == conv[0] and not w[6] & NOLEASE for w in workers):
                add("lease expires (holder dead, or its heartbeats unanswered)", conv=(conv[0], 1, *conv[2:]))
            elif "expire" in faults:
                add("FAULT lease expires (holder alive)", conv=(conv[0], 1, *conv[2:]), K=K - 1)
        if "dup" in faults:
            for m in range(c.nmsg):
                if tasks[m] < 2:
                    add(f"FAULT duplicate delivery m{m + 1}", tasks=more(m, 1), K=K - 1)
        if away and c.back:
            add("document answers again", away=0)
        elif "away" in faults and not away and not c.chaos:
            add("FAULT document does not answer", away=1, K=K - 1)
        if conv != (0, 0, 0, 0) and not c.chaos:
            if "wipe" in faults:
                add("FAULT document lost", conv=(0, 0, 0, 0), K=K - 1)
            if "restore" in faults:
                for a in range(conv[3] + 1):
                    for lease in (0, self.fresh(s)):
                        old = (lease, 0, self.full, a)
                        if a & ~conv[3] == 0 and old != conv:
                            add(f"FAULT document restored from older: lease {lease}, answered {a}", conv=old, K=K - 1)
        if "userdel" in faults:
            for j, x in enumerate(slack):
                if x[CONTENT] < 2:
                    add(f"FAULT user deletes message {j}", slack=sub(slack, (j, 3)), K=K - 1)
        for i, x in enumerate(net):
            rest = net[:i] + net[i + 1 :]
            if x[0] == 0:
                add("late post lands", net=rest, slack=(*slack, x[1:]))
            elif x[0] == 1:
                old = slack[x[1]][CONTENT]
                if x[2] == 2 or old == 2:
                    add("late update lands", net=rest, slack=sub(slack, (x[1], x[2])))
                else:
                    add("late progress lands, mere words", net=rest)
            else:
                add("late CAS lands", net=rest, T=x[2])

    def in_flight(self, x: Step) -> tuple[Any, ...] | None:
        """The requests in flight together with the reservation's post, if it has one to send."""
        if x.pc in BESIDE and x.fl & POST and not self.c.archived:
            return (*x.net, (0, *x.posted(len(x.own))))
        return None

    def interrupted(self, x: Step) -> None:
        """Crash and SIGTERM, at any point; a post of the reservation may be in flight."""
        flight = self.in_flight(x)
        if "crash" in x.faults:
            x.gone("FAULT crash", tasks=x.queued(), K=x.K - 1)
            if flight:
                x.gone("FAULT crash, post in flight", tasks=x.queued(), K=x.K - 1, net=flight)
        if "term" in x.faults and x.pc not in LEAVING:
            if x.pc in (RUN2, FINISH) and x.fl & DIDEX and x.snap[-1][TOOL] == 1 and "losereturns" not in self.mut:
                x.fault("SIGTERM, returns in hand", KEEP, pend=0, own=(), fl=0)
                if flight:
                    x.fault("SIGTERM, returns in hand, post in flight", KEEP, pend=0, own=(), fl=0, net=flight)
            else:
                x.fault("SIGTERM", HANDOVER, snap=None, pend=0, own=(), fl=0)
                if flight:
                    x.fault("SIGTERM, post in flight", HANDOVER, snap=None, pend=0, own=(), fl=0, net=flight)

    # ---------------------------------------------------------------- admission

    def admit(self, x: Step) -> None:
        """answered -> 200; busy -> append to the inbox, baton; else the lease is mine."""
        if self.c.chaos:
            self.admit_chaos(x)
            return
        lease, expired, inbox, answered = x.conv
        bit = 1 << x.m
        free = not lease or lease == x.me or expired
        if x.away:
            self.admit_alone(x, (x.me if free else lease, 0 if free else expired, inbox | bit, answered))
            if not free and not x.fl & LANE:  # read while it still answered; only the inbox was not written
                x.go("busy, no word in the inbox", SELFDEL if x.own else BATON, fl=x.fl | BUSY if x.own else x.fl)
            return
        if x.fl & LANE and (answered & bit or not free):
            return  # where it ends here, AWAIT has said what became of the reservation
        if answered & bit:
            x.go("answered long ago", SELFDEL if x.own else ACK, fl=x.fl | DONE if x.own else x.fl)
        elif not free:
            conv = (lease, expired, inbox | bit, answered)
            if x.own:
                x.go("busy", SELFDEL, conv=conv, fl=x.fl | BUSY)
            else:
                x.go("busy", ACK if "nobaton" in self.mut else BATON, conv=conv)
        else:
            # a lease found held (expired) or no document is a take-over; a lease given up is a hand-over and is not counted
            fl = x.fl if lease == x.me else x.fl | TOOK if lease or x.conv == (0, 0, 0, 0) else x.fl & ~TOOK
            x.go("lease", LOAD, conv=(x.me, 0, inbox | bit, answered), pend=inbox | bit, ans=answered, fl=fl)

    def admit_alone(self, x: Step, written: tuple[int, ...]) -> None:
        """No answer for 5 s: on without a lease.  What was asked for may have been written all the same."""
        if "waits" in self.mut:
            x.go("no answer: handed over", HANDOVER)
            return
        fl = (x.fl & ~TOOK) | NOLEASE
        x.go("no answer: without a lease", LOAD, pend=1 << x.m, fl=fl)
        x.go("no answer, but written: without a lease", LOAD, conv=written, pend=1 << x.m, fl=fl)

    def heartbeat(self, x: Step) -> None:
        """The document answers again: a worker without a lease takes one that is free, or is its own by a write it knew nothing of."""
        lease, expired, inbox, answered = x.conv
        if (not lease or lease == x.me or expired) and not answered & 1 << x.m:
            conv = (x.me, 0, inbox | 1 << x.m, answered)
            x.go("heartbeat: lease", x.pc, conv=conv, fl=x.fl & ~NOLEASE, ans=x.ans)

    def admit_chaos(self, x: Step) -> None:
        """The adversary grants and refuses leases at will, invents inboxes, forgets answered keys; it only never invents one."""
        bit, answered = 1 << x.m, x.conv[3]
        if answered & bit and not x.fl & LANE:
            x.go("chaos answered", SELFDEL if x.own else ACK, fl=x.fl | DONE)
        if not x.fl & LANE:
            x.go("chaos busy", SELFDEL if x.own else BATON, fl=x.fl | BUSY if x.own else x.fl)
        if x.T and x.T[-1][EPOCH] >= self.c.maxepoch:
            return
        for a in range(answered + 1):
            if a & ~answered == 0:
                for pend in {bit, self.full}:
                    x.go(f"chaos lease, inbox {pend}, answered {a}", LOAD, pend=pend, ans=a, fl=x.fl | TOOK)

    def load(self, x: Step) -> None:
        """Read T and decide on it alone."""
        T, fl = x.T, x.fl
        if fl & LANE and (len(T) != len(x.snap) or T[-1][OWNER : EPOCH + 1] != x.snap[-1][OWNER : EPOCH + 1] or T[-1][STATE]):
            return  # the same for a turn that is not mine any more
        if fl & NOLEASE and T and T[-1][STATE] == OPENED and T[-1][OWNER] != x.me and "fights" not in self.mut:
            if x.own:
                x.go("read; another's turn is open", SELFDEL, fl=fl | BUSY)
            else:
                x.go("read; another's turn is open", ACK if "nobaton_alone" in self.mut else BATON)
            return
        if T != x.snap:
            fl &= ~DELIV  # known of the last turn of the T it was learnt on
        if fl & NOLEASE and "believes" in self.mut:
            fl |= DELIV
        if T and T[-1][STATE] and T[-1][MSGS] & ~x.ans == 0:
            fl |= DELIV  # a release wrote these keys, so they were delivered
        if any(garbage(x.slack[j], j, T) for j in x.own):
            x.go("read; my reserved message is garbage", SELFDEL, snap=T, fl=fl, ans=x.ans)
            return
        pc = self.decide(x.me, x.pend, T, fl)
        if T and T[-1][STATE] == OPENED and T[-1][OWNER] == x.me:
            fl = self.lane(T[-1], x.own, fl, pc)
        # RESUME may take messages out of the turn: they are pending again
        pend = x.pend if pc == RESUME and "oncepending" not in self.mut else self.left(x.pend, T)
        x.go("read", pc, snap=T, fl=fl, pend=pend)

    def selfdel(self, x: Step) -> None:
        """Delete my own reserved messages, those that are garbage (not the slots, and nothing while nobody took over)."""
        gone = [j for j in x.own if garbage(x.slack[j], j, x.T) or "ambig412" in self.mut]
        pc = BATON if x.fl & BUSY else ACK if x.fl & DONE else LOAD
        x.go("delete own strays", pc, own=(), ans=x.ans, fl=x.fl & ~(BUSY | DONE), slack=sub(x.slack, *[(j, 3) for j in gone]))

    def baton(self, x: Step) -> None:
        """A successor task carries the message on."""
        x.go("baton", ACK, tasks=x.queued())

    def ack(self, x: Step) -> None:
        """200: this delivery is over."""
        x.gone("200")

    def resume(self, x: Step) -> None:
        """Go on with another's open turn: a new epoch, an unanswered at-most-once call becomes unknown."""
        msgs, _, epoch, tool, _, _, _, att = x.snap[-1]
        if tool == 1 or (tool == 2 and "keepunknown" in self.mut):
            tool = 3 if "redo_tool" not in self.mut else 0
        if x.fl & TOOK and not x.fl & OWNED:
            if att >= 1 and msgs & (msgs - 1):
                msgs, att = msgs & -msgs, 0  # poison isolation: keep the first message, the others come back by their own tasks
            else:
                att += 1
        if "alwaysreset" in self.mut:
            att = 0
        turn = (msgs, x.me, epoch + 1, tool, OPENED, (), 0, att)
        fl = (x.fl & ~ABOUT_TURN) | MESSY | OWNED
        new = (*x.snap[:-1], turn)
        begin, pend = self.lane(turn, (), 0, RUN), self.left(x.pend, new)
        x.cas(new, self.onward(turn, fl), "take over open turn", fl=fl, own=(), begin=begin, pend=pend)

    def open(self, x: Step) -> None:
        """One turn with everything pending; the previous one is delivered, and T says so from now on."""
        new_keys = x.pend & ~keys(x.snap) if "fsdedup" not in self.mut else x.pend
        prev = x.snap
        if prev and "order" not in self.mut:
            prev = (*prev[:-1], (*prev[-1][:SHOWN], 1, prev[-1][ATTEMPTS]))
        turn = (new_keys, x.me, 1, 0, OPENED, (), 0, 0)
        new = (*prev, turn)
        fl = (x.fl & ~(ABOUT_TURN | MESSY | DELIV)) | OWNED
        pc, begin = self.onward(turn, fl), POST if "postatend" not in self.mut else 0
        if "earlypost" in self.mut:  # the first slot is reserved beside OPEN instead of after it
            k, own = len(x.snap), tuple(j for j in x.own if x.slack[j][TURN] == len(x.snap))
            if not own:
                x.go("reserve beside open", OPEN, slack=(*x.slack, (k, 1, 0, 0)), own=(len(x.slack),))
            x.cas(new, pc, "open turn", fl=fl, own=own, begin=0 if own else begin)
        elif "stale_local" in self.mut and x.T == x.snap:  # locals survive into the next turn when the commit was ambiguous
            x.go("open turn ok", pc, snap=new, T=new, fl=(x.fl & ~(DIDEX | DELIV)) | POST, own=())
            if "lost" in x.faults:
                x.fault("open turn ok but response lost", ADMIT, T=new, snap=None)
        else:
            x.cas(new, pc, "open turn", fl=fl, own=(), begin=begin)

    # ---------------------------------------------------------------- the run

    def run(self, x: Step) -> None:
        """The first model call."""
        turn = x.snap[-1]
        if turn[MSGS] & self.c.poison:
            self.killed(x)
        elif self.c.tool:
            x.go("model asks for the tool", INTENT)
        else:
            self.through(x, "model answers")

    def intent(self, x: Step) -> None:
        """The response that asks for the tool is committed: a new step."""
        if "nointent" in self.mut:
            x.go("skip intent", EXEC)
        else:
            x.cas((*x.snap[:-1], self.stepped(x.snap[-1], 1)), EXEC, "step")

    def exec(self, x: Step) -> None:
        """The at-most-once tool runs and its return is in hand."""
        k = len(x.snap) - 1
        self.through(x, "tool runs", tool=(*x.tool[:k], min(x.tool[k] + 1, 2), *x.tool[k + 1 :]))

    def through(self, x: Step, label: str, **world: Any) -> None:
        """Past the tool: the next model call, or the finish."""
        fl = x.fl | DIDEX
        pc = self.onward(x.snap[-1], fl)
        x.go(label, pc, fl=self.lane(x.snap[-1], x.own, fl, pc), **world)

    def run2(self, x: Step) -> None:
        """The model call after the tool; a step of its own only where it kills (the early commit may be anywhere)."""
        self.killed(x)

    def killed(self, x: Step) -> None:
        """A poison message kills the worker, not counted as a fault (with a post in flight it is a crash, and is)."""
        x.gone("poison kills the worker", tasks=x.queued())

    @staticmethod
    def stepped(turn: Turn, tool: int) -> Turn:
        """The open turn after a new step: progress, so the take-overs are counted from here."""
        return (turn[MSGS], turn[OWNER], turn[EPOCH], tool, OPENED, (), 0, 0)

    def early(self, x: Step, pc: int) -> None:
        """The early commit: the return becomes a step of its own, beside the next model call."""
        fl_no = x.fl & ~DIDEX if "forgets" in self.mut else x.fl
        x.cas((*x.snap[:-1], self.stepped(x.snap[-1], 2)), pc, "commit the return", fl_no=fl_no)

    def keep(self, x: Step) -> None:
        """Before a hand-over: returns in hand become a step, one commit, no retry."""
        new = (*x.snap[:-1], self.stepped(x.snap[-1], 2))
        if x.T != x.snap:
            x.go("commit the return 412", HANDOVER, snap=None)
            return
        x.go("commit the return ok", HANDOVER, snap=None, T=new)
        if "late" in x.faults:
            x.fault("commit the return timed out, lands later", HANDOVER, snap=None, net=(*x.net, (2, x.T, new)))

    def handover(self, x: Step) -> None:
        """SIGTERM, out of time, trouble: the successor first, ..."""
        x.go("successor task", HRELEASE, tasks=x.tasks if "nosuccessor" in self.mut else x.queued())

    def hrelease(self, x: Step) -> None:
        """... then the lease, and no answered key."""
        if not x.away or x.conv[0] == x.me:
            x.go("release", ACK, conv=(0, 0, *x.conv[2:]) if x.conv[0] == x.me else x.conv)
        if x.away:
            x.go("release unanswered", ACK)

    # ---------------------------------------------------------------- the reservation, beside the run

    def reservation(self, x: Step) -> None:
        """The next request of the reservation; in AWAIT the run stands still until it is through."""

        def on(label: str, fl: int, own: Any = SAME, **world: Any) -> None:
            own = x.own if own is SAME else own
            fl = self.lane(x.snap[-1], own, fl, x.pc) if x.pc == FINISH else fl
            if x.pc in (AWAIT, ADMIT, LOAD) and not fl & LANE:
                x.go(label, LOAD if x.pc == LOAD else ADMIT, snap=None, own=own, fl=fl, ans=x.ans, **world)
            else:
                x.go(label, x.pc, own=own, fl=fl, ans=x.ans, **world)

        if x.fl & LOOK:
            self.look(x, on)
        else:
            self.post(x, on)

    def look(self, x: Step, on: Any) -> None:
        """After RESUME or an ambiguous post: clean, keep my own, post what is missing."""
        fl = x.fl & ~LOOK
        if "adopt" in self.mut:
            mine = tuple(j for j, y in enumerate(x.slack) if y[TURN] == len(x.snap) - 1 and y[CONTENT] < 2)[:1]
            on("adopt", fl if mine else fl | POST, mine)
            return
        slack, mine = self.lookup(x.slack, x.snap, 0)
        on("lookup: older deleted", fl if mine else fl | POST, mine, slack=slack)

    def post(self, x: Step, on: Any) -> None:
        """Reserve the message of the next part."""
        part = len(x.own)
        message = x.posted(part)
        slack, late, fl = (*x.slack, message), (*x.net, (0, *message)), x.fl & ~POST
        refused = fl | REFUSED
        if self.c.archived:
            on("reserve: refused for good", refused)
            return
        on("reserve", fl, (*x.own, len(x.slack)), slack=slack)
        again, enough = fl | LOOK | MESSY, fl | GAVEUP | MESSY
        K = x.K - 1
        if "lost" in x.faults:
            on("FAULT reserved, response lost", again, slack=slack, K=K)
            on("FAULT reserved, responses lost, retries used up", enough, slack=slack, K=K)
        if "late" in x.faults:
            on("FAULT reserve timed out, lands later", again, net=late, K=K)
            on("FAULT reserve timed out, lands later, retries used up", enough, net=late, K=K)
        if "failed" in x.faults:
            on("FAULT reserve fails, retries used up", fl | GAVEUP, K=K)
        if "refused" in x.faults:
            on("FAULT reserve: refused for good", refused, K=K)
            if x.pc in RUNNING and x.pc != FINISH:
                x.fault("reserve: refused for good, the run is stopped", FINISH, fl=refused & ~LANE)

    def show(self, x: Step) -> None:
        """A progress text: mere words on a placeholder, so nothing changes; but on an answer it would, and an ambiguous one taints."""
        j = x.own[0]
        if x.slack[j][CONTENT] == 2:
            x.go("progress over the answer", x.pc, slack=sub(x.slack, (j, 1)))
        if "late" in x.faults and not x.fl & TAINT:
            x.fault("progress timed out, lands later", x.pc, fl=x.fl | MESSY | TAINT, net=(*x.net, (1, j, 1)))

    def awaited(self, x: Step) -> None:
        """Re-admission while a reservation may be in flight: it is awaited, or goes on beside it (of use where the turn is still mine),
        or was not sent yet, or is cancelled."""
        x.go("reservation goes on", ADMIT)
        x.go("reservation not sent yet: dropped", ADMIT, snap=None, fl=x.fl & ~LANE)
        if flight := self.in_flight(x):
            messy = 0 if "forgetpost" in self.mut else MESSY
            x.go("reservation cancelled in flight: ambiguous", ADMIT, snap=None, own=(), fl=(x.fl & ~LANE) | messy, net=flight)

    # ---------------------------------------------------------------- the finish

    def finish(self, x: Step) -> None:
        """The linearisation point: reply and slots in one commit.  It waits for the reservation and for the early commit."""
        t, fl = x.snap[-1], x.fl | TRIED
        if fl & LANE or (fl & DIDEX and t[TOOL] == 1):
            return
        if fl & REFUSED:
            messy = 2 if fl & MESSY or x.own else 0
            slots = x.own if "refusedslot" in self.mut else ()
            done = (*t[:STATE], UNDELIVERABLE, slots, messy, t[ATTEMPTS])
            new = (*x.snap[:-1], done)
            x.cas(new, self.decide(x.me, x.pend, new, fl), "finish undeliverable", fl=fl)
            return
        failed = t[ATTEMPTS] >= self.c.maxatt
        n = 1 if failed else self.c.parts
        # an ambiguous progress text may still land on the message: it can never be a slot; nor is there one where the reservation failed
        slots = (-1,) * n if fl & TAINT and "lateupd_ok" not in self.mut else (*x.own, *(-1,) * n)[:n]
        done = (*t[:STATE], FAILED if failed else ANSWERED, slots, 2 if fl & MESSY else 0, t[ATTEMPTS])
        world: dict[str, Any] = {}
        if "earlykey" in self.mut and x.T == x.snap:  # the answered key is written before the answer is shown
            world = {"conv": (*x.conv[:3], x.conv[3] | t[MSGS])}
        if "fsdedup" in self.mut and x.T == x.snap:
            world = {"pend": x.pend & ~t[MSGS]}
        x.cas((*x.snap[:-1], done), POSTFINAL if "postatend" in self.mut else UPDATE, "finish", fl=fl, **world)

    # ---------------------------------------------------------------- delivery

    def update(self, x: Step) -> None:
        """Fill part 1, then part 2; a slot that is null or gone is made anew first."""
        p, t = x.pc - UPDATE, x.snap[-1]
        slots = t[SLOTS]
        slot = slots[p]
        if slot < 0 and "latepart" in self.mut and p:  # a part without a recorded slot is posted, then shown
            x.go("part posted", CLEAN, slack=(*x.slack, x.posted(p, 2)), fl=x.fl | MESSY | DELIV)
        elif -1 in slots and "latepart" not in self.mut:
            self.null_slots(x, slots)
        elif x.slack[slot][CONTENT] == 3:
            x.go("slot gone", RECLAIM, fl=x.fl | MESSY, pend=x.pend | p << 8)
        else:
            fl = x.fl
            if p + 1 < len(slots):
                pc = UPDATE2
            else:
                fl |= DELIV
                if "localmessy" not in self.mut and (t[EPOCH] > 1 or t[SHOWN] == 2):
                    fl |= MESSY
                pc = CLEAN if fl & MESSY else self.decide(x.me, x.pend, x.snap, fl)
            x.go(f"final part {p + 1}", pc, slack=sub(x.slack, (slot, 2)), fl=fl)
            if "late" in x.faults:  # retried until the answer is definite; the late copy carries the same text
                x.fault("final timed out, lands later; retry", x.pc, net=(*x.net, (1, slot, 2)))
            if "refused" in x.faults:
                x.fault("final: refused for good", REFUSE)

    def null_slots(self, x: Step, slots: tuple[int, ...]) -> None:
        """The finish recorded null slots.  Whoever still is the owner of this very epoch, and has no tainted message in it, may reserve
        them right away (with a lookup first if anything was ambiguous); everybody, and always, may take a new epoch first."""
        t, k, q = x.snap[-1], len(x.snap) - 1, slots.index(-1)
        mine = t[OWNER] == x.me or "strangerfill" in self.mut
        if mine and (not x.fl & TAINT or "taintfill" in self.mut):
            own = tuple(j for j in x.own if j not in slots and x.slack[j][TURN] == k and x.slack[j][AGE] == t[EPOCH])
            if x.fl & TAINT:
                own = ()
            if len(own) == slots.count(-1):
                x.go("slots reserved, not recorded", RESLOT, own=own)
                return
            look = x.fl & MESSY or t[OWNER] != x.me
            x.go("null slots, epoch still mine", LOOKUP if look and "nolook" not in self.mut else REPOST, own=own)
        x.go("null slots", RECLAIM, fl=x.fl | MESSY, pend=x.pend | q << 8)

    def reclaim(self, x: Step) -> None:
        """Part q has no usable slot: a new epoch first (the fence), the slots before q are kept (they may be visible), those from q on
        are dropped (delivery goes in order, so they are not filled)."""
        t = x.snap[-1]
        q = x.pend >> 8 if "dropall" not in self.mut else 0
        slots = (*t[SLOTS][:q], *(-1,) * (max(1, len(t[SLOTS])) - q))
        new = (*x.snap[:-1], (t[MSGS], x.me, t[EPOCH] + 1, t[TOOL], t[STATE], slots, 2, t[ATTEMPTS]))
        # where it does not take effect, what is remembered of the present epoch (a taint!) still holds
        fl = x.fl | MESSY
        x.cas(new, LOOKUP, "new epoch for the slots", fl=fl & ~ABOUT_TURN, fl_no=fl, own=(), pend=x.pend & 255)

    def relook(self, x: Step) -> None:
        """Clean, and keep what I reserved in this epoch."""
        slots = x.snap[-1][SLOTS]
        slack, mine = self.lookup(x.slack, x.snap, slots.index(-1))
        x.go("clean", RESLOT if len(mine) == slots.count(-1) else REPOST, slack=slack, own=mine)

    def repost(self, x: Step) -> None:
        """Reserve the message of the next part without a slot."""
        slots = x.snap[-1][SLOTS]
        message = x.posted(slots.index(-1) + len(x.own))
        slack, late = (*x.slack, message), (*x.net, (0, *message))
        if self.c.archived:
            x.go("refused for good", REFUSE)
            return
        own = (*x.own, len(x.slack))
        x.go("reserve again", RESLOT if len(own) == slots.count(-1) else REPOST, slack=slack, own=own)
        if "lost" in x.faults:
            x.fault("reserved, response lost", LOOKUP, slack=slack, own=(), fl=x.fl | MESSY)
        if "late" in x.faults:
            x.fault("reserve timed out, lands later", LOOKUP, net=late, own=(), fl=x.fl | MESSY)
        if "refused" in x.faults:
            x.fault("refused for good", REFUSE)

    def reslot(self, x: Step) -> None:
        """Record the new slots; only then are they filled."""
        t = x.snap[-1]
        slots = (*t[SLOTS][: t[SLOTS].index(-1)], *x.own)
        messy = 2 if x.fl & MESSY else t[SHOWN]
        x.cas((*x.snap[:-1], (*t[:SLOTS], slots, messy, t[ATTEMPTS])), UPDATE, "record slots")

    def refuse(self, x: Step) -> None:
        """Delivery refused for good: undeliverable.  Recorded slots are kept, they may be visible; null ones go."""
        t = x.snap[-1]
        slots = t[SLOTS][: t[SLOTS].index(-1)] if -1 in t[SLOTS] else t[SLOTS]
        if "refuseddrop" in self.mut:
            slots = ()
        messy = 2 if x.fl & MESSY or any(j not in slots for j in x.own) else t[SHOWN]
        new = (*x.snap[:-1], (*t[:STATE], UNDELIVERABLE, slots, messy, t[ATTEMPTS]))
        x.cas(new, self.decide(x.me, x.pend, new, x.fl), "undeliverable")

    def clean(self, x: Step) -> None:
        """The last turn is done and messy: what rule G allows goes."""
        if "unfenced" in self.mut:
            slack = self.lookup(x.slack, x.snap, 99)[0]
        else:
            k = len(x.snap) - 1
            gone = [(j, 3) for j, y in enumerate(x.slack) if y[TURN] == k and y[CONTENT] != 3 and garbage(y, j, x.snap)]
            slack = sub(x.slack, *gone)
        x.go("lookup: garbage deleted", TIDY, slack=slack, fl=x.fl | DELIV)

    def tidy(self, x: Step) -> None:
        """... and once more when every older request is dead."""
        fl = x.fl & ~(MESSY | TAINT)
        tidy = x.tidy if self.mut & {"notidy", "postatend"} else 1
        x.go("schedule tidy", self.decide(x.me, x.pend, x.snap, fl), fl=fl, tidy=tidy)

    def release(self, x: Step) -> None:
        """Everything in T is delivered: lease away, answered keys in; the precondition failing is the signal of new mail."""
        lease, expired, inbox, answered = x.conv
        known = keys(x.snap) if "fsdedup" not in self.mut else x.pend | 1 << x.m
        left = inbox & ~known
        if self.c.chaos:
            x.go("release", ACK, conv=(0, 0, 0, answered | known))
            x.go("release fails", ACK)
        elif x.fl & NOLEASE:
            x.go("nothing to release", ACK)  # our message is in T and delivered; its key is known to T alone
        elif x.away:
            x.go("release unanswered", ACK)
            if lease == x.me and not left:
                x.go("release unanswered, but written", ACK, conv=(0, 0, 0, answered | known))
        elif lease != x.me:
            x.go("not holder", ACK)  # expired and taken, or the document lost: our message is in T and delivered
        elif left and "split_release" in self.mut:
            x.go("more in inbox", LOAD, pend=left)
        elif left:
            pc = self.decide(x.me, left, x.snap, x.fl)
            x.go("more in inbox", LOAD if pc == RELEASE else pc, pend=left)
        elif "split_release" in self.mut:  # check now, release in a second step
            x.go("inbox empty (checked)", REL2, conv=(lease, expired, 0, answered | known))
        else:
            x.go("release", ACK, conv=(0, 0, 0, answered | known))

    # ---------------------------------------------------------------- steps that only mutants take

    def rel2(self, x: Step) -> None:
        """split_release: the second half, blind."""
        x.go("release (blind)", ACK, conv=(0, 0, *x.conv[2:]) if x.conv[0] == x.me else x.conv)

    def postfinal(self, x: Step) -> None:
        """postatend: the answer is posted after the finish, into no slot."""
        message = x.posted(0, 2)
        x.go("post final", TIDY, slack=(*x.slack, message), fl=x.fl | DELIV)
        if "lost" in x.faults:
            x.fault("post final, response lost", LOOKFINAL, slack=(*x.slack, message))
        if "late" in x.faults:
            x.fault("post final timed out", LOOKFINAL, net=(*x.net, (0, *message)))

    def lookfinal(self, x: Step) -> None:
        """postatend: look for it before posting again."""
        if any(y[TURN] == len(x.snap) - 1 and y[CONTENT] == 2 for y in x.slack):
            x.go("lookup: found", TIDY, fl=x.fl | DELIV)
        else:
            x.go("lookup: not found", POSTFINAL)

    # ---------------------------------------------------------------- properties

    def check_state(self, s: State) -> None:
        """S1 to S6 and S8."""
        T, slack, runs = s[2], s[3], s[7]
        k = 0
        for i, t in enumerate(T):
            if k & t[MSGS]:
                raise Violation("S1 message in two turns (answered twice)")
            k |= t[MSGS]
            if t[EPOCH] > self.c.bound:
                raise Violation("S8 a turn is taken over for ever")
            if t[TOOL] == 3 and runs[i] and self.c.faults <= HARMLESS and not self.c.chaos and not self.c.poison2:
                raise Violation("S6 a return in hand at a hand-over was lost")
        seen: dict[tuple[int, int], int] = {}
        for j, x in enumerate(slack):
            if x[CONTENT] == 2:
                if (x[TURN], x[PART]) in seen:
                    raise Violation("S2 two visible answers for one turn and part")
                seen[x[TURN], x[PART]] = j
        for (k, p), j in seen.items():
            if "postatend" not in self.mut and (k >= len(T) or not T[k][STATE] or p >= len(T[k][SLOTS]) or T[k][SLOTS][p] != j):
                raise Violation("S3 answer visible outside its recorded slot")
            if any((k, q) not in seen for q in range(p)):
                raise Violation("S4 later part visible before the earlier one")
            if any(
                (i, q) not in seen for i in range(k) if T[i][STATE] != UNDELIVERABLE for q in range(max(1, len(T[i][SLOTS])))
            ):
                raise Violation("S4 later answer visible before the earlier one")
        if max(runs) > 1:
            raise Violation("S5 at-most-once tool ran twice")

    @staticmethod
    def check_edge(s: State, n: State) -> None:
        """S6 and S7: what a single step must not undo."""
        if n[3] is not s[3]:
            for a, b in zip(s[3], n[3], strict=False):
                if a[CONTENT] == 2 and b[CONTENT] != 2:
                    raise Violation("S7 a visible answer was overwritten or deleted")
        if n[2] is not s[2]:
            for a, b in zip(s[2], n[2], strict=False):
                if a[TOOL] == 2 and b[TOOL] == 3:
                    raise Violation("S6 a call whose return was committed is called unknown")

    def check_terminal(self, s: State) -> None:
        """T1 to T5."""
        _, _, T, slack, _, _, _, _, tidy, _ = s
        c = self.c
        if tidy:
            slack = sub(slack, *[(j, 3) for j, x in enumerate(slack) if garbage(x, j, T)])
        if keys(T) != self.full:
            raise Violation("T1 acked message never entered a turn")
        for i, t in enumerate(T):
            if t[STATE] == OPENED:
                raise Violation("T2 turn left open at quiescence")
            if t[STATE] == FAILED and c.K < c.maxatt and t[MSGS] & ~(c.poison | c.poison2):
                raise Violation("T5 a healthy message was given up")
            if t[STATE] == UNDELIVERABLE and "refused" not in c.faults and not c.archived:
                raise Violation("T5 undeliverable although Slack refused nothing")
            shown = [x[PART] for x in slack if x[TURN] == i and x[CONTENT] == 2]  # in Slack's order
            if shown != list(range(len(shown) if t[STATE] == UNDELIVERABLE else max(1, len(t[SLOTS])))):
                raise Violation(f"T3 turn shows parts {shown} at quiescence")
        for j, x in enumerate(slack):
            kept = (
                x[TURN] < len(T)
                and T[x[TURN]][STATE] == UNDELIVERABLE
                and j in T[x[TURN]][SLOTS]
                and "refusedslot" not in self.mut
            )
            if x[CONTENT] < 2 and not kept:
                raise Violation("T4 stray placeholder/progress left visible at quiescence")

    @staticmethod
    def terminal(s: State) -> bool:
        """Nobody works, nothing is in flight, nothing is queued."""
        return not s[5] and not s[4] and not any(s[0])


def run(cfg: Cfg, limit: int | None = None, *, ef: bool = False, quiet: bool = True, compact: bool = False) -> dict[str, Any]:
    """Search every reachable state; the figures, and where a property fails its name and a shortest trace.

    `compact` remembers a 64-bit hash instead of each state (memory of about 300 bytes a state; a collision would hide a state, odds below
    1 in 10,000 at 60 million).
    """
    M = Model(cfg)
    s0 = M.canon(M.init())
    idx: dict[Any, int] = {hash(s0) if compact else s0: 0}
    states: list[State | None] = [s0]
    parent, plabel = array("q", [-1]), [""]
    edges_from, edges_to = array("I"), array("I")
    good: list[int] = []
    viol: tuple[str, int] | None = None
    nedges = nterm = i = si = 0
    t0 = time.time()

    def reach(n: State, key: Any, label: str, origin: int) -> int:
        idx[key] = j = len(states)
        states.append(n)
        parent.append(origin)
        plabel.append(sys.intern(label))
        return j

    try:
        while i < len(states):
            s, si = states[i], i
            assert s is not None
            i += 1
            M.check_state(s)
            if M.terminal(s):
                nterm += 1
                M.check_terminal(s)
                good.append(si)
            for label, step in M.succ(s):
                try:
                    M.check_edge(s, step)
                except Violation:
                    si = reach(step, object(), label, si)
                    raise
                n = M.canon(step)
                key = hash(n) if compact else n
                nedges += 1
                j = idx.get(key)
                if j is None:
                    j = reach(n, key, label, si)
                if ef and "FAULT" not in label:
                    edges_from.append(si)
                    edges_to.append(j)
            if compact:
                states[si] = None
            if limit and len(states) > limit:
                break
            if not quiet and i % 200000 == 0:
                print(f"  .. {i} expanded, {len(states)} seen, {time.time() - t0:.0f} s", file=sys.stderr, flush=True)
    except Violation as e:
        viol = (str(e), si)

    def path(j: int) -> list[str]:
        p: list[str] = []
        while parent[j] >= 0:
            p.append(plabel[j])
            j = parent[j]
        return p[::-1]

    res: dict[str, Any] = {"states": len(states), "edges": nedges, "terminals": nterm, "seconds": round(time.time() - t0, 1)}
    res |= {"violation": viol[0] if viol else None, "complete": i >= len(states) and not viol}
    if viol:
        res["trace"] = path(viol[1])
    elif ef and res["complete"]:
        stuck = unreached(len(states), edges_from, edges_to, good)
        res |= {"EF": not stuck, "stuck_states": len(stuck)}
        if stuck:
            res |= {"violation": "EF no good end can be reached without further faults", "trace": path(stuck[0])}
        res["seconds"] = round(time.time() - t0, 1)
    return res


def unreached(n: int, edges_from: array[int], edges_to: array[int], good: list[int]) -> list[int]:
    """The states from which no good end can be reached: everything that a backward search from the good ones misses."""
    head, nxt = array("i", [-1]) * n, array("i", [-1]) * len(edges_to)
    for e, j in enumerate(edges_to):
        nxt[e] = head[j]
        head[j] = e
    seen = bytearray(n)
    for g in good:
        seen[g] = 1
    todo = list(good)
    while todo:
        e = head[todo.pop()]
        while e >= 0:
            u = edges_from[e]
            if not seen[u]:
                seen[u] = 1
                todo.append(u)
            e = nxt[e]
    return [k for k in range(n) if not seen[k]]


def main() -> None:
    """One search from the command line: its figures as JSON, then the trace of a violation."""
    ap = argparse.ArgumentParser(description="Search the turn protocol's model.")
    ap.add_argument("-K", type=int, default=2, help="faults")
    ap.add_argument("--msgs", type=int, default=2)
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--parts", type=int, default=1)
    ap.add_argument("--faults", default=",".join(FAULTS))
    ap.add_argument("--mut", default="", help="rules to switch off, see mutants.py")
    ap.add_argument("--poison", type=int, default=0)
    ap.add_argument("--poison2", type=int, default=0)
    ap.add_argument("--maxatt", type=int, default=3)
    ap.add_argument("--no-tool", action="store_true")
    ap.add_argument("--no-stream", action="store_true")
    ap.add_argument("--archived", action="store_true")
    ap.add_argument("--chaos", action="store_true")
    ap.add_argument("--maxepoch", type=int, default=3)
    ap.add_argument("--ef", action="store_true")
    ap.add_argument("--compact", action="store_true")
    ap.add_argument("--limit", type=int, default=0)
    ap.add_argument("-q", action="store_true")
    a = ap.parse_args()
    cfg = Cfg(K=a.K, nmsg=a.msgs, nwork=a.workers, parts=a.parts, poison=a.poison, poison2=a.poison2, maxatt=a.maxatt)
    cfg.tool, cfg.stream, cfg.archived, cfg.chaos, cfg.maxepoch = (
        not a.no_tool,
        not a.no_stream,
        a.archived,
        a.chaos,
        a.maxepoch,
    )
    cfg.faults, cfg.mut = set(filter(None, a.faults.split(","))), set(filter(None, a.mut.split(",")))
    res = run(cfg, a.limit or None, ef=a.ef and not a.chaos, quiet=a.q, compact=a.compact)
    trace = res.pop("trace", ())
    print(json.dumps(res))
    for line in trace:
        print("   ", line)
    sys.exit(1 if res["violation"] else 0)


if __name__ == "__main__":
    main()
