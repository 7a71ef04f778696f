locals {
  # Cloud Run answers 429 when its instances are full, and the queue would take that for a sign to slow everything down:
  # so it never sends more than fits in.
  worker_slots = var.worker_max_instances * var.worker_concurrency
}

# A queue's name cannot be used again for days after it was deleted, and its tasks are lost with it.
resource "google_cloud_tasks_queue" "spool" {
  name     = "spool"
  location = var.region

  rate_limits {
    max_concurrent_dispatches = min(local.worker_slots, 5000) # Cloud Tasks' own limit
    max_dispatches_per_second = min(local.worker_slots, 500)  # the same
  }

  # A task is tried until it is answered. The two limits are ANDed and off: what is left is Cloud Tasks' own, 31 days.
  retry_config {
    max_attempts       = -1
    max_retry_duration = "0s"
    min_backoff        = "2s"
    max_backoff        = "60s"
    max_doublings      = 5
  }

  # Every operation on a task; `spool why` reads it. No payload is logged.
  stackdriver_logging_config {
    sampling_ratio = 1
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.api]
}
