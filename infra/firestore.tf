# One document per conversation: lease, inbox, the last answered keys. Its loss costs time, never an answer.

resource "google_firestore_database" "default" {
  name        = "(default)"
  location_id = var.region
  type        = "FIRESTORE_NATIVE"

  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED" # any minute of the last 7 days
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  deletion_policy                   = "ABANDON"

  depends_on = [google_project_service.api]
}

# Firestore deletes a document within a day after this time. It is house-keeping: a lease's end is judged by the code.
# An index on times that only grow would be a hot spot, and nobody asks by this one.
resource "google_firestore_field" "expire_at" {
  database   = google_firestore_database.default.name
  collection = "conversations"
  field      = "expire_at"

  ttl_config {}
  index_config {}
}

# Nothing else is asked for by its content, and an index costs a write per field and heartbeat: none …
resource "google_firestore_field" "all" {
  database   = google_firestore_database.default.name
  collection = "conversations"
  field      = "*"

  index_config {}
}

# … but this one: the sweeper looks for leases that ran out, oldest first.
resource "google_firestore_field" "lease_at" {
  database   = google_firestore_database.default.name
  collection = "conversations"
  field      = "lease.at"

  index_config {
    indexes {
      order       = "ASCENDING"
      query_scope = "COLLECTION"
    }
  }
}
