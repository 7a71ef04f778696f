"""Who may do what, read from a plan."""

import json
import re
from collections import defaultdict
from typing import Any

from planning import Plan


def grants(plan: Plan) -> dict[str, set[tuple[str, str]]]:
    """Per account of ours: on what, which role."""
    found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)

    def note(member: str, what: str, role: str) -> None:
        if match := re.fullmatch(r"serviceAccount:spool-(\w+)@.*", member):
            found[match[1]].add((what, role.removeprefix("roles/")))

    for r in plan.resources:
        if r.type == "google_storage_bucket_iam_policy":
            for binding in json.loads(r.values["policy_data"])["bindings"]:
                for member in binding["members"]:
                    note(member, "bucket transcripts", binding["role"])
        elif r.type.endswith("_iam_member"):
            note(r.values["member"], _on(r.type, r.address, r.values), r.values["role"])
    return found


def _on(kind: str, address: str, values: Any) -> str:
    (key,) = re.findall(r'\["([^"]+)"\]$', address) or [""]
    if kind == "google_secret_manager_secret_iam_member":
        return f"secret {key or 'SLACK_SIGNING_SECRET'}"
    if kind == "google_service_account_iam_member":
        return "account tasks" if "acts_as_tasks" in address else f"account {key}"
    if kind == "google_storage_bucket_iam_member":
        return f"bucket {values['bucket']}"
    if kind == "google_cloud_run_v2_service_iam_member":
        return f"service {values['name'].removeprefix('spool-')}"
    return {"google_project_iam_member": "project", "google_cloud_tasks_queue_iam_member": "queue"}.get(kind, kind)
