"""Is everything that a turn needs in reach of this deployment? Asked by the smoke test, before a revision gets traffic.

Nothing of it shows in Slack. Its conversation is in no workspace, and its transcript lies outside of `threads/`.
"""

from collections.abc import Awaitable, Callable

from spool.conversation import Document
from spool.envelope import ConversationKey
from spool.errors import Conflict
from spool.task import Task
from spool.turn.work import Ports

KEY = ConversationKey(team="T0SMOKE", channel="C0SMOKE", thread_ts="1000000000.000000")
PATH = "smoke/transcript.json"


async def smoke(*, ports: Ports, who: Callable[[], Awaitable[str]]) -> None:
    """Do once what turns do: load the agent, commit, take a document, look for expired leases, ask Slack who we are, and
    create a task that finds nothing to do. `who` asks Slack whom the token speaks for.

    Raises what the first that fails raises: `SpoolError`.
    """
    ports.agent()
    await _commit(ports)
    await _write(ports)
    await ports.conversations.expired(seconds=0, limit=1)
    await who()
    await ports.tasks.create(Task(conversation=KEY, kind="tidy", tag="smoke"))


async def _commit(ports: Ports) -> None:
    """Twice: to overwrite needs more rights than to write what is not there yet."""
    for _ in range(2):
        transcript, generation = await ports.transcripts.load(PATH, key=KEY)
        try:
            await ports.transcripts.commit(PATH, transcript, generation=generation)
        except Conflict:
            return  # another smoke test was first: the precondition works


async def _write(ports: Ports) -> None:
    seen = await ports.conversations.read(KEY)
    try:
        await ports.conversations.write(KEY, Document(), token=seen.token if seen else None)
    except Conflict:
        return
