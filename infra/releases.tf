# What staging ran: one small object per commit, with the hashes of what was deployed. Production refuses what is not in it.

locals {
  releases = local.production ? var.releases_bucket : google_storage_bucket.releases[0].name
}

resource "google_storage_bucket" "releases" {
  # checkov:skip=CKV_GCP_62: who reads an object is in Cloud Audit Logs, see bucket.tf

  count = local.production ? 0 : 1

  name     = "${var.project_id}-spool-releases"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket_iam_member" "records_releases" {
  for_each = local.production ? toset([]) : toset([
    "roles/storage.objectCreator", # record a release: a new object each, what is recorded cannot be changed
    "roles/storage.objectViewer",  # was this commit recorded before?
  ])

  bucket = google_storage_bucket.releases[0].name
  role   = each.key
  member = local.member["deployer"]
}

resource "google_storage_bucket_iam_member" "reads_releases" {
  for_each = local.production ? toset([]) : var.release_readers

  bucket = google_storage_bucket.releases[0].name
  role   = "roles/storage.objectViewer" # production's deployer looks up what staging ran
  member = each.key
}
