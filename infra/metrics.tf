# Both functions write one JSON object per line; its `event` says what happened (functions/spool/google/logs.py). These metrics
# count and measure them, so that alerts and the dashboard need no other source. None of them holds what anybody said.

locals {
  spool_logs = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"spool-ingress\" OR \"spool-worker\")"

  # What is measured: from which event, which of its fields, in which unit, and the smallest value that is told apart.
  measured = {
    ack_latency    = { event = "acked", field = "latency_ms", unit = "ms", smallest = 1, what = "From a request's arrival to its 200." }
    answer_seconds = { event = "answered", field = "seconds", unit = "s", smallest = 0.1, what = "From a message's arrival to its answer in Slack." }
    answer_cost    = { event = "answered", field = "cost_usd", unit = "{USD}", smallest = 0.0001, what = "What the model's calls of one turn cost, where the price is known." }
  }
}

resource "google_logging_metric" "events" {
  name        = "spool/events"
  description = "What happened, by event; `answered` by outcome as well."
  filter      = "${local.spool_logs} AND jsonPayload.event:*"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    labels {
      key         = "event"
      value_type  = "STRING"
      description = "The event's name."
    }
    labels {
      key         = "outcome"
      value_type  = "STRING"
      description = "answered, failed or cancelled; empty for other events."
    }
  }

  label_extractors = {
    event   = "EXTRACT(jsonPayload.event)"
    outcome = "EXTRACT(jsonPayload.outcome)"
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "measured" {
  for_each = local.measured

  name            = "spool/${each.key}"
  description     = each.value.what
  filter          = "${local.spool_logs} AND jsonPayload.event=\"${each.value.event}\" AND jsonPayload.${each.value.field}:*"
  value_extractor = "EXTRACT(jsonPayload.${each.value.field})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit
  }

  bucket_options {
    exponential_buckets {
      scale              = each.value.smallest
      growth_factor      = 1.4
      num_finite_buckets = 50 # up to 20 million times the smallest
    }
  }

  depends_on = [google_project_service.api]
}
