"""Google's words, and ours: the queue, the bucket and the documents on Google Cloud."""
