"""The way into the cloud: `spool setup` walks it, `spool manifest`, `spool stage` and `spool smoke` are steps of it."""
