# One page for whoever is on call: what people feel, what the queue does, what goes wrong, what it costs.

locals {
  # title, then lines: label, filter, aligner, reducer, by which label
  charts = [
    ["Answers: seconds until they are in Slack", [
      ["p50", "${local.user_metric}/answer_seconds\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_50", []],
      ["p95", "${local.user_metric}/answer_seconds\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_95", []],
    ]],
    ["Turns per second, by outcome", [
      ["outcome", "${local.user_metric}/events\" AND metric.labels.event=\"answered\"", "ALIGN_RATE", "REDUCE_SUM", ["metric.labels.outcome"]],
    ]],
    ["Acks: milliseconds (Slack waits for 3000)", [
      ["p50", "${local.user_metric}/ack_latency\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_50", []],
      ["p99", "${local.user_metric}/ack_latency\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_99", []],
      ["p99 with the network", "${local.ingress_metric}/request_latencies\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_99", []],
    ]],
    ["What goes wrong, and what was mended, by event", [
      ["event", "${local.user_metric}/events\" AND metric.labels.event!=\"acked\" AND metric.labels.event!=\"answered\"", "ALIGN_SUM", "REDUCE_SUM", ["metric.labels.event"]],
    ]],
    ["Queue: tasks", [
      ["depth", "${local.queue_metric}/depth\"", "ALIGN_MEAN", "REDUCE_SUM", []],
    ]],
    ["Queue: attempts per second, by answer", [
      ["answer", "${local.queue_metric}/task_attempt_count\"", "ALIGN_RATE", "REDUCE_SUM", ["metric.labels.response_code"]],
    ]],
    ["Queue: milliseconds that attempts are late (p95)", [
      ["p95", "${local.queue_metric}/task_attempt_delays\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_95", []],
    ]],
    ["Requests per second, by status", [
      ["ingress", "${local.ingress_metric}/request_count\"", "ALIGN_RATE", "REDUCE_SUM", ["metric.labels.response_code"]],
      ["worker", "${local.worker_metric}/request_count\"", "ALIGN_RATE", "REDUCE_SUM", ["metric.labels.response_code"]],
    ]],
    ["Cold starts: milliseconds (p95)", [
      ["ingress", "${local.ingress_metric}/container/startup_latencies\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_95", []],
      ["worker", "${local.worker_metric}/container/startup_latencies\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_95", []],
    ]],
    ["Instances", [
      ["ingress", "${local.ingress_metric}/container/instance_count\"", "ALIGN_MAX", "REDUCE_SUM", []],
      ["worker", "${local.worker_metric}/container/instance_count\"", "ALIGN_MAX", "REDUCE_SUM", []],
    ]],
    ["Worker: memory (p99)", [
      ["p99", "${local.worker_metric}/container/memory/utilizations\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_99", []],
    ]],
    ["Dollars per turn (mean, where the price is known)", [
      ["mean", "${local.user_metric}/answer_cost\"", "ALIGN_DELTA", "REDUCE_MEAN", []],
    ]],
  ]

  user_metric = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/spool"
}

resource "google_monitoring_dashboard" "spool" {
  dashboard_json = jsonencode({
    displayName = "Spool ${var.environment}"
    mosaicLayout = {
      columns = 12
      tiles = [for number, chart in local.charts : {
        xPos   = (number % 3) * 4
        yPos   = floor(number / 3) * 4
        width  = 4
        height = 4
        widget = {
          title = chart[0]
          xyChart = {
            dataSets = [for line in chart[1] : {
              plotType       = "LINE"
              legendTemplate = length(line[4]) == 0 ? line[0] : null
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter = line[1]
                  aggregation = {
                    alignmentPeriod    = "60s"
                    perSeriesAligner   = line[2]
                    crossSeriesReducer = line[3]
                    groupByFields      = line[4]
                  }
                }
              }
            }]
          }
        }
      }]
    }
  })

  # A chart of a metric that is not there yet cannot be made.
  depends_on = [google_logging_metric.events, google_logging_metric.measured]
}
