"""Slack's words and ours: nothing outside this folder knows an event, a block or an error code of Slack."""
