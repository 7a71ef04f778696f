resource "google_artifact_registry_repository" "spool" {
  # checkov:skip=CKV_GCP_84: images hold code and nothing that anybody said; Google's own key is enough

  repository_id = "spool"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of both functions."

  # What is kept wins over what is deleted: enough to roll back to, and to see what ran.
  cleanup_policies {
    id     = "keep the newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete the old"
    action = "DELETE"
    condition {
      older_than = "2592000s" # 30 days
    }
  }

  depends_on = [google_project_service.api]
}
