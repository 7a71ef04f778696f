# The transcripts: the only truth. Whoever may read this bucket may read every conversation.

resource "google_storage_bucket" "transcripts" {
  # checkov:skip=CKV_GCP_62: who reads which object is in Cloud Audit Logs, see below

  name     = "${var.project_id}-spool"
  location = var.region

  uniform_bucket_level_access = true # one list of readers, no exceptions per object
  public_access_prevention    = "enforced"

  # Every commit of a turn stays readable as a noncurrent generation: the history of every step.
  versioning {
    enabled = true
  }

  # Only what was overwritten or deleted ever goes away. Live transcripts stay: a turn that is asked for again, after the queue's
  # 31 days at most, must find that it was answered. There is no retention policy: it would forbid overwriting.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      with_state                 = "ARCHIVED"
      days_since_noncurrent_time = 35
    }
  }

  # Brings back even what was deleted with all its generations.
  soft_delete_policy {
    retention_duration_seconds = 7 * 24 * 60 * 60
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.api]
}

# Who gets in by this bucket's own list. Not one role more each, for a new bucket lets every viewer of the project read its
# objects. What a role on the whole project allows is beyond it: grant none that holds storage.objects.*. The deployer has one,
# see accounts.tf, and could do all that the worker can in any case.
resource "google_storage_bucket_iam_policy" "transcripts" {
  bucket = google_storage_bucket.transcripts.name

  policy_data = jsonencode({
    bindings = [for binding in [
      {
        role    = "roles/storage.objectUser" # read and write; overwriting counts as deleting, so objectCreator is not enough
        members = [local.member["worker"]]
      },
      {
        role    = "roles/storage.objectViewer" # read and list, and nothing else: no other bucket, no log, no Firestore
        members = sort(var.transcript_readers)
      },
      {
        role    = "roles/storage.legacyBucketOwner" # who owns the project keeps the keys of the house: settings and this list …
        members = ["projectOwner:${var.project_id}"]
      },
      {
        role    = "roles/storage.legacyObjectOwner" # … and, for `spool doctor` and `spool why`, the objects
        members = ["projectOwner:${var.project_id}"]
      },
    ] : binding if length(binding.members) > 0]
  })
}

# Who read which object is logged, except what the worker reads all day.
resource "google_project_iam_audit_config" "storage" {
  project = var.project_id
  service = "storage.googleapis.com"

  audit_log_config {
    log_type         = "DATA_READ"
    exempted_members = [local.member["worker"]]
  }
}
