# Finds turns that hang, which nobody notices otherwise until the queue's 30 minutes are over.

resource "google_cloud_scheduler_job" "sweep" {
  name        = "spool-sweep"
  region      = var.region
  description = "Has the worker take up turns whose lease ran out."
  schedule    = "* * * * *"
  time_zone   = "Etc/UTC"

  attempt_deadline = "50s" # over before the next one begins

  # A sweep that failed is not tried again: the next minute's does the same work, and running twice is harmless.
  retry_config {
    retry_count = 0
  }

  http_target {
    uri         = "${local.url["worker"]}/sweep"
    http_method = "POST"

    oidc_token {
      service_account_email = local.email["scheduler"]
      audience              = local.audience
    }
  }

  depends_on = [google_project_service.api]
}
