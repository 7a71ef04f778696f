"""A Slack workspace on this machine: the Web API that Spool calls and the signed events that it gets.

    person ──say──► workspace ──► state (SQLite)        a message, and its events in the same transaction
                        │
                        ├──► deliveries ──signed──► ingress     Slack's retries, remembered over a restart
    worker ──/api/──► slack_api ──► workspace                   Slack's arguments, limits and errors

It is as strict as Slack is documented to be, where the documents leave a choice it takes the worse one, and with a
`Fault` it fails as Slack fails: an answer lost, an effect that comes late, an event that comes twice.
"""
