"""What stands behind the two functions in `spool dev`: the queue that calls the worker, and the minute's call of its sweep.

local    queue.db in SPOOL_STATE_DIR, and a dispatcher in this process, which calls the sweep too
google   Google's emulators: their queue calls the worker; the scheduler has no emulator, so this process stands in for it
"""

import asyncio
import logging
from collections.abc import Mapping

from spool.cli.emulators import Emulators
from spool.errors import Misconfigured, SpoolError
from spool.local.token import new_token
from spool.settings import QUEUE, STORES, Google, Settings, inherited

SWEEP_EVERY = 60.0
"""Seconds; infra/ tells Cloud Scheduler the same."""

DEFAULTS = {
    "GOOGLE_CLOUD_PROJECT": "spool-dev",
    "SPOOL_LOCATION": "europe-west1",
    "SPOOL_QUEUE": "spool",
    "SPOOL_BUCKET": "spool-dev-spool",
}
"""What is used in emulators where nobody says otherwise."""

_log = logging.getLogger(__name__)


def read_settings(*, need: tuple[str, ...] = (), emulators: Emulators | None = None) -> Settings:
    """The settings of a `spool dev`, on `emulators` if there are any. Raises `Misconfigured`."""
    given = inherited({})
    if emulators:
        named = {name: value for name, value in given.items() if value}
        given = {**DEFAULTS, **named, **emulators.environment, "SPOOL_BACKEND": "google"}
    settings = Settings.read(given, need=need, google=STORES + QUEUE)
    if settings.google and not settings.google.emulated:
        msg = "Google's queue cannot call a worker on this machine: use --emulators, or SPOOL_BACKEND=local"
        raise Misconfigured(msg)
    return settings


def settings_of(emulated: Mapping[str, str]) -> Settings:
    """Where a running `spool dev` keeps everything, as it recorded that: `places`."""
    return Settings.read(inherited({"SPOOL_BACKEND": "google" if emulated else "local", **emulated}), google=STORES)


def environment(settings: Settings, worker_url: str) -> Mapping[str, str]:
    """What the functions read: this process's environment, with what was decided here."""
    decided = {
        "SLACK_SIGNING_SECRET": ",".join(settings.signing_secrets),
        "SLACK_BOT_TOKEN": settings.bot_token,
        "SLACK_API_URL": settings.slack_api_url,
        "SPOOL_BACKEND": settings.backend,
        "SPOOL_STATE_DIR": str(settings.state_dir),
        "SPOOL_WORKER_URL": worker_url,
        "PYDANTIC_AI_NO_BANNER": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # without bytecode a restart takes three times as long
        "PYTHONUNBUFFERED": "1",
    }
    return inherited(decided | places(settings))


def places(settings: Settings) -> dict[str, str]:
    """What names the emulators and the places in them; nothing on the local backend."""
    google = settings.google
    return (
        {}
        if google is None
        else {
            "GOOGLE_CLOUD_PROJECT": google.project,
            "SPOOL_LOCATION": google.location,
            "SPOOL_QUEUE": google.queue,
            "SPOOL_BUCKET": google.bucket,
            "CLOUD_TASKS_EMULATOR_HOST": google.tasks_emulator,
            "FIRESTORE_EMULATOR_HOST": google.firestore_emulator,
            "STORAGE_EMULATOR_HOST": google.storage_emulator,
        }
    )


async def prepare(settings: Settings) -> None:
    """Make what must be there before a function starts. Raises `SpoolError` where an emulator does not answer."""
    if google := settings.google:
        from spool.google.emulated import make_bucket, make_queue

        bucket = asyncio.to_thread(make_bucket, project=google.project, bucket=google.bucket, emulator=google.storage_emulator)
        await asyncio.gather(bucket, asyncio.to_thread(make_queue, **_queue(google)))


async def keep_calling(settings: Settings, worker_url: str) -> None:
    """Call the worker, until cancelled."""
    if settings.google:
        await _schedule(settings.google, worker_url)
    else:
        from spool.local.dispatcher import Dispatcher

        await Dispatcher(settings.state_dir, worker_url=worker_url, token=new_token(settings.state_dir)).run()


async def _schedule(google: Google, worker_url: str) -> None:
    """A call that fails is no matter: the next one comes in a minute."""
    from spool.google.emulated import call_sweep

    while True:
        await asyncio.sleep(SWEEP_EVERY)
        caller = {"audience": google.audience, "service_account": google.scheduler_account}
        try:
            await asyncio.to_thread(call_sweep, **_queue(google), worker_url=worker_url, **caller)
        except SpoolError as e:
            _log.warning("the sweep was not called: %s", e)


def _queue(google: Google) -> dict[str, str]:
    return {
        "project": google.project,
        "location": google.location,
        "queue": google.queue,
        "emulator": google.tasks_emulator,
    }
