"""Your rules: where the agent listens, who may speak to it, what a turn may cost.

Every field is described in `spool.policy.Policy`. Both functions read this file, so import nothing heavy here.
"""

from spool.policy import Policy

policy = Policy()
