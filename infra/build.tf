# staging deploys every push to the branch. production deploys a commit that is tagged release-…, after somebody approved it, and
# only what staging ran. Either can be started by hand at a commit, with the cloudbuild.yaml of that commit:
#
#   gcloud builds triggers run spool-production --region=REGION --sha=COMMIT
#
# or, in staging, with what lies in this folder, and the substitutions below: `spool setup` does, and README shows the command.

locals {
  production = var.environment == "production"
  connection = split("/repositories/", var.repository)[0]

  substitutions = {
    _REGION             = var.region
    _ENVIRONMENT        = var.environment
    _MODEL              = var.model
    _MODEL_LOCATION     = var.model_location
    _MODEL_KEY_ENV      = var.model_key_env
    _BUCKET             = google_storage_bucket.transcripts.name
    _QUEUE              = google_cloud_tasks_queue.spool.name
    _DATABASE           = google_firestore_database.default.name
    _INGRESS_MAX        = tostring(var.ingress_max_instances)
    _WORKER_MAX         = tostring(var.worker_max_instances)
    _WORKER_CONCURRENCY = tostring(var.worker_concurrency)
    _LOG_CONTENT        = tostring(var.log_content)
    _RELEASES           = local.releases
  }
}

resource "google_cloudbuild_trigger" "deploy" {
  count = var.repository == "" ? 0 : 1

  name            = "spool-${var.environment}"
  location        = var.region
  description     = local.production ? "Deploys a tagged commit that staging ran, once it is approved." : "Deploys every push to ${var.branch}."
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.account["deployer"].id
  substitutions   = local.substitutions

  repository_event_config {
    repository = var.repository
    push {
      branch = local.production ? null : "^${replace(var.branch, ".", "\\.")}$" # it is a pattern
      tag    = local.production ? "^release-" : null
    }
  }

  approval_config {
    approval_required = local.production
  }

  depends_on = [google_project_service.api]
}

resource "google_cloudbuildv2_connection_iam_member" "deployer" {
  count = var.repository == "" ? 0 : 1

  name     = local.connection
  location = var.region
  role     = "roles/cloudbuild.readTokenAccessor" # a build fetches its source as the account that it runs as
  member   = local.member["deployer"]
}

# Where `gcloud run deploy` puts the source that it builds; the name is gcloud's. It would make the bucket by itself, and keep every
# upload for ever.
resource "google_storage_bucket" "sources" {
  # checkov:skip=CKV_GCP_62: who reads an object is in Cloud Audit Logs, see bucket.tf
  # checkov:skip=CKV_GCP_78: an upload is built once and never changed

  name     = "run-sources-${var.project_id}-${var.region}"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 30 # days
    }
  }

  depends_on = [google_project_service.api]
}
