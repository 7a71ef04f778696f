"""What can go wrong, named after what to do next.

    SpoolError
    ├── Conflict        somebody else wrote first: reload, decide again
    ├── Missing         the thing named is not there: make it anew, or go on without it
    ├── Ambiguous       no clear answer: it may have happened, or may still happen; look before doing it again
    │   └── Throttled   it did not happen: wait `after` seconds, then do it again
    ├── Refused         refused for good: stop trying, tell a person why
    │   └── BadBlocks   only the form was refused: say the same in plain text
    ├── Unreadable      a transcript that is no transcript: leave its bytes alone
    ├── TooNew          a transcript of a later schema: wait for the deployment that can read it
    ├── BadInput        input from outside that cannot be used: say what was expected
    ├── Misconfigured   a setting or the agent's code is wrong: say which, and what to write there
    └── NotHandedOn     a message could not even be queued again: answer 500, so that the queue keeps it

Adapters translate a vendor's errors into these at their edge; the middle lets them rise; doors answer them.
"""


class SpoolError(Exception):
    """Every error that Spool raises on purpose."""


class Conflict(SpoolError):
    """Somebody else wrote first: reload it and decide again."""


class Missing(SpoolError):
    """What was named is not there (any more)."""


class Ambiguous(SpoolError):
    """Timeout, reset or 5xx: the effect may have happened, may not have, or may happen later."""


class Throttled(Ambiguous):
    """The call was turned away before it had any effect; it may be made again after `after` seconds."""

    def __init__(self, message: str, *, after: float) -> None:
        super().__init__(message)
        self.after = after


class Refused(SpoolError):
    """The other side says no and will go on saying no; `reason` is its own word for why."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadBlocks(Refused):
    """Slack refuses the form of a message, not the message: show it in plain text."""


class Unreadable(SpoolError):
    """The stored bytes are no transcript. They are never overwritten: a person may still mend them."""


class TooNew(SpoolError):
    """The stored transcript has a newer schema than this deployment reads."""


class BadInput(SpoolError):
    """Input from outside that cannot be used: says what was expected and what was found."""


class Misconfigured(SpoolError):
    """A setting, or the code in the user's room, is wrong: says which and what to do."""


class NotHandedOn(SpoolError):
    """The successor task of a message could not be created: only the queue's own retry keeps the message alive."""
