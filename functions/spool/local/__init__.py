"""One machine as the cloud: queue, transcripts and conversations in SQLite files under SPOOL_STATE_DIR."""
