# Each alert is about something that a person must do, and says in its last field what. People are told by e-mail, and by whatever
# alert_channels names. Where nobody is named there are no alerts: Google charges by the condition, and the dashboard shows the same.

locals {
  # Commands that are ready to be pasted: whoever is woken has not read README.
  doctor = "`spool doctor --project ${var.project_id} --region ${var.region}`"
  back = { for name in ["ingress", "worker"] :
    name => "`gcloud run services update-traffic spool-${name} --project=${var.project_id} --region=${var.region} --to-revisions=REVISION=100`"
  }

  queue_metric   = "resource.type=\"cloud_tasks_queue\" AND resource.labels.queue_id=\"${google_cloud_tasks_queue.spool.name}\" AND metric.type=\"cloudtasks.googleapis.com/queue"
  ingress_metric = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.ingress.name}\" AND metric.type=\"run.googleapis.com"
  worker_metric  = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.worker.name}\" AND metric.type=\"run.googleapis.com"

  # From Google's own metrics: when `filter`, aligned over `period` and reduced to one number, is above `threshold` for `during`.
  measures = {
    queue_depth = {
      title  = "More than 50 tasks wait for 10 minutes"
      filter = "${local.queue_metric}/depth\"", aligner = "ALIGN_MEAN", reducer = "REDUCE_SUM"
      period = "60s", threshold = 50, during = "600s"
      todo   = "Look at the worker's errors on the dashboard first; if there are none it is load: raise worker_max_instances in the tfvars, apply, and build at once: the queue already sends what only the new revision can take."
    }
    attempt_delays = {
      title  = "Tasks start a minute late (p95)"
      filter = "${local.queue_metric}/task_attempt_delays\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_PERCENTILE_95"
      period = "300s", threshold = 60000, during = "300s" # milliseconds
      todo   = "The queue is throttled or the worker is full: see whether the worker answers 429 or 5xx on the dashboard, then raise worker_max_instances in the tfvars, apply, and build at once."
    }
    failed_attempts = {
      title  = "More than a tenth of the queue's attempts fail"
      filter = "${local.queue_metric}/task_attempt_count\" AND metric.labels.response_code!=\"ok\"", aligner = "ALIGN_SUM", reducer = "REDUCE_SUM"
      of     = "${local.queue_metric}/task_attempt_count\""
      period = "600s", threshold = 0.1, during = "300s"
      todo   = "Run ${local.doctor}: the worker cannot even hand messages on, and the queue keeps them; if a deploy just happened, take the worker back: ${local.back["worker"]}."
    }
    ingress_errors = {
      title  = "The ingress answers 5xx"
      filter = "${local.ingress_metric}/request_count\" AND metric.labels.response_code_class=\"5xx\"", aligner = "ALIGN_SUM", reducer = "REDUCE_SUM"
      period = "300s", threshold = 3, during = "0s"
      todo   = "Slack sends these again for five minutes only: run ${local.doctor}, and if a deploy just happened take the ingress back: ${local.back["ingress"]}."
    }
    ingress_latency = {
      title  = "The ingress needs more than 2.5 s (p99)"
      filter = "${local.ingress_metric}/request_latencies\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_PERCENTILE_99"
      period = "300s", threshold = 2500, during = "600s" # milliseconds; Slack waits for 3000
      todo   = "If start-up latency on the dashboard is high set ingress_min_instances = 1 and apply; otherwise look at Cloud Tasks' status page."
    }
    worker_memory = {
      title  = "The worker is short of memory (p99 above 90 %)"
      filter = "${local.worker_metric}/container/memory/utilizations\"", aligner = "ALIGN_DELTA", reducer = "REDUCE_PERCENTILE_99"
      period = "300s", threshold = 0.9, during = "300s"
      todo   = "Lower worker_concurrency in the tfvars, apply and build: an instance out of memory kills all its turns, which then start again."
    }
  }

  # From the log: when more than `more_than` of `events` are written within `within`.
  events = {
    apology = {
      title     = "Somebody got an apology instead of an answer"
      events    = ["apology"]
      more_than = 0, within = "60s"
      todo      = "Find the ERROR line with event `apology`, run `spool why` with its permalink, mend the cause and ask the person to ask again."
    }
    undeliverable = {
      title     = "An answer cannot be shown in Slack"
      events    = ["undeliverable"]
      more_than = 0, within = "60s"
      todo      = "Run `spool why` with the permalink of the ERROR line: the bot was removed, the channel archived or the token revoked; the answer is in the transcript."
    }
    refused = {
      title     = "A message was refused by the queue for good"
      events    = ["refused"]
      more_than = 0, within = "60s"
      todo      = "Nobody will answer it: read the ERROR line's reason and tell its author."
    }
    unreadable = {
      title     = "A transcript cannot be read"
      events    = ["unreadable"]
      more_than = 0, within = "60s"
      todo      = "Restore its last good generation: `gcloud storage ls -a` on the object shows them; its broken bytes were left as they are."
    }
    too_new = {
      title     = "A newer version has written what this one cannot read"
      events    = ["too_new", "unreadable_task"]
      more_than = 0, within = "60s"
      todo      = "Deploy the newer version again: the messages wait for it. Do not delete anything."
    }
    misconfigured = {
      title     = "The agent cannot be loaded"
      events    = ["misconfigured"]
      more_than = 0, within = "60s"
      todo      = "Read the ERROR line: it says what is missing. Messages wait up to an hour; deploy a mended agent, or take the worker back: ${local.back["worker"]}."
    }
    agent_failed = {
      title     = "The agent's own code fails"
      events    = ["agent_failed"]
      more_than = 3, within = "600s"
      todo      = "See Error Reporting for the stack trace in functions/agent/, and deploy a mended agent within the hour."
    }
    bugs = {
      title     = "Spool itself fails"
      events    = ["bug", "crashed"]
      more_than = 0, within = "60s"
      todo      = "See Error Reporting for the stack trace, report it with its trace id, and if a deploy just happened take back the ingress, then the worker: ${local.back["worker"]}."
    }
    not_queued = {
      title     = "Messages do not get into the queue"
      events    = ["not_queued"]
      more_than = 3, within = "300s"
      todo      = "Run ${local.doctor}: is the queue there and may spool-ingress use it? Slack sends each message again for five minutes only."
    }
    not_handed_on = {
      title     = "Messages cannot be handed on"
      events    = ["not_handed_on"]
      more_than = 3, within = "600s"
      todo      = "Nothing is lost, the queue keeps them: run ${local.doctor} and look at Cloud Tasks' status page."
    }
    unsigned = {
      title     = "Requests that Slack did not sign"
      events    = ["unsigned"]
      more_than = 20, within = "600s"
      todo      = "If no event arrives any more the signing secret is another app's: add the right version and deploy; else somebody knocks, and was refused."
    }
    strangers = {
      title     = "Strangers call the worker"
      events    = ["forbidden"]
      more_than = 5, within = "600s"
      todo      = "If the queue grows as well, account or audience are wrong: apply Terraform and deploy again; else somebody of the project knocks."
    }
    cannot_verify = {
      title     = "The worker cannot verify its callers"
      events    = ["unverified"]
      more_than = 3, within = "600s"
      todo      = "Google's signing keys cannot be fetched: look at the status page. The queue keeps everything meanwhile."
    }
    sweep_failed = {
      title     = "The sweep fails"
      events    = ["sweep_failed"]
      more_than = 3, within = "600s"
      todo      = "Read the ERROR line, then run ${local.doctor}: mostly Firestore, or its index on `lease.at`. Turns that hang now wait for 30 minutes."
    }
    workers_crashed = {
      title     = "Workers die in the middle of turns"
      events    = ["taken_over"]
      more_than = 10, within = "600s"
      todo      = "Look at the worker's memory on the dashboard and at its log for what is killed; every turn goes on elsewhere meanwhile."
    }
    without_leases = {
      title     = "Turns run without a lease, for Firestore does not answer"
      events    = ["without_lease"]
      more_than = 5, within = "600s"
      todo      = "Look at Firestore's status page and run ${local.doctor}; answers are safe, but two workers may do the same work."
    }
    lost_races = {
      title     = "Commits lose their race"
      events    = ["conflict"]
      more_than = 30, within = "600s"
      todo      = "Two workers fight for the same threads: look for hangs (taken_over) and slow storage; nothing is lost, but models are called twice."
    }
  }

  alerts = merge(local.measures, {
    for name, alert in local.events : name => {
      title     = alert.title
      filter    = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.events.name}\" AND metric.labels.event=one_of(\"${join("\", \"", alert.events)}\")"
      aligner   = "ALIGN_SUM"
      reducer   = "REDUCE_SUM"
      period    = alert.within
      threshold = alert.more_than
      during    = "0s"
      todo      = alert.todo
    }
  })

  mailboxes = [for channel in google_monitoring_notification_channel.email : channel.id]
  channels  = concat(local.mailboxes, tolist(var.alert_channels))
  anybody   = length(local.channels) > 0
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alert_emails

  display_name = "Spool ${var.environment}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = { for name, alert in local.alerts : name => alert if local.anybody }

  display_name          = "Spool ${var.environment}: ${each.value.title}"
  combiner              = "OR"
  severity              = local.production ? "ERROR" : "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter             = each.value.filter
      denominator_filter = try(each.value.of, null)
      comparison         = "COMPARISON_GT"
      threshold_value    = each.value.threshold
      duration           = each.value.during

      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }

      dynamic "denominator_aggregations" {
        for_each = try([each.value.of], [])
        content {
          alignment_period     = each.value.period
          per_series_aligner   = each.value.aligner
          cross_series_reducer = each.value.reducer
        }
      }
    }
  }

  documentation {
    content   = each.value.todo
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}

# The scheduler calls the worker each minute: when nobody calls it, nobody sweeps, and perhaps the queue cannot either.
resource "google_monitoring_alert_policy" "silence" {
  count = local.anybody ? 1 : 0

  display_name          = "Spool ${var.environment}: Nobody calls the worker"
  combiner              = "OR"
  severity              = local.production ? "ERROR" : "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "No request for 10 minutes"

    condition_absent {
      filter   = "${local.worker_metric}/request_count\""
      duration = "600s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content   = "Run `gcloud scheduler jobs describe spool-sweep --project=${var.project_id} --location=${var.region}`: is it paused, and what did its last attempt get? Then ${local.doctor}."
    mime_type = "text/markdown"
  }

  alert_strategy {
    auto_close = "86400s"
  }
}
