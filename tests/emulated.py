"""A place of its own in the emulators, for one test: nobody else's documents, objects or tasks are there."""

import itertools
import os
from dataclasses import dataclass

from spool.cli.emulators import Emulators
from spool.google.emulated import make_bucket, make_queue

LOCATION = "europe-west1"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A project with an empty Firestore, an empty bucket and an empty queue; the queue has the product's retries."""

    emulators: Emulators
    project: str
    location: str
    queue: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """All that SPOOL_BACKEND=google needs on emulators."""
        return {
            "SPOOL_BACKEND": "google",
            "GOOGLE_CLOUD_PROJECT": self.project,
            "SPOOL_LOCATION": self.location,
            "SPOOL_QUEUE": self.queue,
            "SPOOL_BUCKET": self.bucket,
            **self.emulators.environment,
        }


def make_place(emulators: Emulators) -> Place:
    """The names are new in emulators that somebody else keeps running, too."""
    project = f"spool-{os.getpid()}-{os.urandom(3).hex()}-{next(_numbers)}"
    place = Place(emulators=emulators, project=project, location=LOCATION, queue="spool", bucket=f"{project}-spool")
    make_bucket(project=project, bucket=place.bucket, emulator=emulators.storage)
    make_queue(project=project, location=LOCATION, queue=place.queue, emulator=emulators.tasks)
    return place
