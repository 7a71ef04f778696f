locals {
  apis = toset(concat(
    [
      "artifactregistry.googleapis.com",     # the images
      "cloudbuild.googleapis.com",           # builds and deploys
      "cloudresourcemanager.googleapis.com", # Terraform reads the project's number
      "cloudscheduler.googleapis.com",       # the sweep
      "cloudtasks.googleapis.com",           # the queue
      "firestore.googleapis.com",            # leases and inboxes
      "iam.googleapis.com",                  # the service accounts
      "iamcredentials.googleapis.com",       # the queue's tokens
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "run.googleapis.com",           # the two functions
      "secretmanager.googleapis.com", # Slack's and the model's keys
      "storage.googleapis.com",       # the transcripts
    ],
    local.google_models ? ["aiplatform.googleapis.com"] : [],
    var.billing_account == "" ? [] : ["billingbudgets.googleapis.com"],
  ))
}

resource "google_project_service" "api" {
  for_each = local.apis

  service            = each.key
  disable_on_destroy = false # somebody else may have begun to use it
}
