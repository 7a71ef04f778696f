# The two functions. Terraform makes each once, with a page that says hello, and keeps what stays the same from deploy to deploy:
# who may call it, from where, how many instances are awake. Revisions are cloudbuild.yaml's: image, environment, secrets, sizes.

locals {
  # Known before anything is deployed, so that the ingress can be told where the worker is.
  url = { for name in ["ingress", "worker"] : name => "https://spool-${name}-${data.google_project.this.number}.${var.region}.run.app" }

  # Whom tokens for the worker are for: a name, so that it holds for every URL of the service.
  audience    = "spool-worker"
  placeholder = "us-docker.pkg.dev/cloudrun/container/hello"

  # What each function is told. cloudbuild.yaml sets the same names at each deploy; the secrets come from secrets.tf.
  ingress_environment = {
    GOOGLE_CLOUD_PROJECT        = var.project_id
    SPOOL_LOCATION              = var.region
    SPOOL_QUEUE                 = google_cloud_tasks_queue.spool.name
    SPOOL_WORKER_URL            = local.url["worker"]
    SPOOL_WORKER_AUDIENCE       = local.audience
    SPOOL_TASKS_SERVICE_ACCOUNT = local.email["tasks"]
    SPOOL_LOG_CONTENT           = tostring(var.log_content)
  }
  worker_environment = merge(local.ingress_environment, {
    SPOOL_BUCKET                    = google_storage_bucket.transcripts.name
    SPOOL_DATABASE                  = google_firestore_database.default.name
    SPOOL_SCHEDULER_SERVICE_ACCOUNT = local.email["scheduler"]
    SPOOL_MODEL                     = var.model
    GOOGLE_CLOUD_LOCATION           = var.model_location # read by the client of models `google-cloud:`
  })
}

resource "google_cloud_run_v2_service" "ingress" {
  name        = "spool-ingress"
  location    = var.region
  description = "Takes Slack's events, verifies them and queues them."
  ingress     = "INGRESS_TRAFFIC_ALL"

  # Slack has no Google identity: it signs, and the function verifies. Not an invoker role for allUsers, because organisations
  # forbid such members by default (iam.allowedPolicyMemberDomains), and because this names one service and no principal.
  invoker_iam_disabled = true
  deletion_protection  = true

  scaling {
    min_instance_count = var.ingress_min_instances
  }

  template {
    service_account                  = local.email["ingress"]
    timeout                          = "10s" # it answers within 2; Slack waits for 3
    max_instance_request_concurrency = 40

    scaling {
      max_instance_count = var.ingress_max_instances
    }

    containers {
      image = local.placeholder

      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = true # paid for during requests: nothing runs between them
        startup_cpu_boost = true # a cold start counts against Slack's 3 seconds
      }

      dynamic "env" {
        for_each = local.ingress_environment
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [template, traffic, client, client_version, build_config, labels, annotations]
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_run_v2_service" "worker" {
  name        = "spool-worker"
  location    = var.region
  description = "Runs turns."

  # Cloud Tasks and Cloud Scheduler of this project count as internal at a run.app address; nobody else gets as far as IAM.
  # https://docs.cloud.google.com/run/docs/securing/ingress
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  custom_audiences    = [local.audience]
  deletion_protection = true

  scaling {
    min_instance_count = var.worker_min_instances
  }

  template {
    service_account                  = local.email["worker"]
    timeout                          = "1800s" # the longest that the queue waits for an attempt
    max_instance_request_concurrency = var.worker_concurrency

    scaling {
      max_instance_count = var.worker_max_instances
    }

    containers {
      image = local.placeholder

      resources {
        limits            = { cpu = "1", memory = "1Gi" }
        cpu_idle          = true # a turn runs inside its request
        startup_cpu_boost = true # model libraries are slow to import
      }

      dynamic "env" {
        for_each = local.worker_environment
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [template, traffic, client, client_version, build_config, labels, annotations]
  }

  depends_on = [google_project_service.api]
}
