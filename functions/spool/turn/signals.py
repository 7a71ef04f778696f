"""How a turn leaves its course on purpose: control flow, not failure."""


class Reenter(Exception):
    """Somebody else may have moved: be admitted anew, read the transcript, decide again (R2)."""


class HandOver(Exception):
    """An attempt ends here and a successor task goes on.

    delay: seconds until the successor runs; None: as long as a baton waits, because there is trouble.
    """

    def __init__(self, why: str, *, delay: float | None = None) -> None:
        super().__init__(why)
        self.delay = delay


class Undeliverable(Exception):
    """Slack refuses for good to carry this turn's answer."""
