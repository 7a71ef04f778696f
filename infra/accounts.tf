# Who may do what. Every role is on the smallest thing that takes it, and says what for.

locals {
  accounts = {
    ingress   = "Takes Slack's events and queues them."
    worker    = "Answers them."
    tasks     = "Whom the queue calls the worker as."
    scheduler = "Whom Cloud Scheduler calls the worker as."
    builder   = "Builds the images."
    deployer  = "Runs cloudbuild.yaml: checks, deploys, promotes."
  }

  # An address is known before the account is there, and still waits for it.
  email  = { for name, account in google_service_account.account : name => "${account.account_id}@${var.project_id}.iam.gserviceaccount.com" }
  member = { for name, email in local.email : name => "serviceAccount:${email}" }

  # Models on Google Cloud itself need no key: the worker's account is who they know.
  google_models = var.model_key_env == "" || startswith(var.model, "google-cloud:")
}

resource "google_service_account" "account" {
  for_each = local.accounts

  account_id   = "spool-${each.key}"
  display_name = "Spool ${each.key}"
  description  = each.value

  depends_on = [google_project_service.api]
}

# ingress and worker: queue tasks, as the tasks account

resource "google_cloud_tasks_queue_iam_member" "enqueuer" {
  for_each = toset(["ingress", "worker", "deployer"])

  name     = google_cloud_tasks_queue.spool.name
  location = google_cloud_tasks_queue.spool.location
  role     = "roles/cloudtasks.enqueuer" # messages; batons and resume tasks; the smoke test's task
  member   = local.member[each.key]
}

resource "google_service_account_iam_member" "acts_as_tasks" {
  for_each = toset(["ingress", "worker", "deployer"])

  service_account_id = google_service_account.account["tasks"].name
  role               = "roles/iam.serviceAccountUser" # a task may only carry the token of an account that its creator may act as
  member             = local.member[each.key]
}

# worker; the transcripts' bucket has its own list, in bucket.tf

resource "google_project_iam_member" "worker_firestore" {
  project = var.project_id
  role    = "roles/datastore.user" # read and write documents; Firestore has no smaller place to grant it on
  member  = local.member["worker"]
}

resource "google_project_iam_member" "worker_models" {
  count = local.google_models ? 1 : 0

  project = var.project_id
  role    = "roles/aiplatform.user" # call models `google-cloud:` without a key
  member  = local.member["worker"]
}

# tasks and scheduler: call the worker, and nothing else

resource "google_cloud_run_v2_service_iam_member" "worker_invoker" {
  for_each = toset(["tasks", "scheduler"])

  name     = google_cloud_run_v2_service.worker.name
  location = google_cloud_run_v2_service.worker.location
  role     = "roles/run.invoker" # POST /task, POST /sweep; the worker checks once more who may do which
  member   = local.member[each.key]
}

# builder: what roles/run.builder allows, but not on every bucket of the project

resource "google_storage_bucket_iam_member" "builder" {
  bucket = google_storage_bucket.sources.name
  role   = "roles/storage.objectViewer" # the uploaded source
  member = local.member["builder"]
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  repository = google_artifact_registry_repository.spool.name
  location   = google_artifact_registry_repository.spool.location
  role       = "roles/artifactregistry.repoAdmin" # write the image, move its tags
  member     = local.member["builder"]
}

resource "google_project_iam_member" "builder" {
  project = var.project_id
  role    = "roles/logging.logWriter" # the build's own log
  member  = local.member["builder"]
}

# deployer: whoever may deploy what runs as the worker can do what the worker can, read the transcripts too. So guard the branch,
# the tags and the approval, and who may start a build or act as this account.

resource "google_project_iam_member" "deployer" {
  # checkov:skip=CKV_GCP_49: deploying from source has no smaller role; whom it may act as is said one by one below
  for_each = toset([
    "roles/run.sourceDeveloper",               # deploy both services from source; no IAM of theirs. Reads and adds objects of every bucket
    "roles/serviceusage.serviceUsageConsumer", # what deploying from source asks for
    "roles/logging.logWriter",                 # the build's own log
  ])

  project = var.project_id
  role    = each.key
  member  = local.member["deployer"]
}

resource "google_storage_bucket_iam_member" "deployer" {
  bucket = google_storage_bucket.sources.name
  role   = "roles/storage.objectUser" # upload what is built; fetch what a build by hand was given
  member = local.member["deployer"]
}

resource "google_service_account_iam_member" "deployer" {
  for_each = toset(["ingress", "worker", "builder"])

  service_account_id = google_service_account.account[each.key].name
  role               = "roles/iam.serviceAccountUser" # the services run as the first two, their build as the third
  member             = local.member["deployer"]
}

resource "google_cloud_tasks_queue_iam_member" "deployer" {
  for_each = toset([
    "roles/cloudtasks.viewer",      # has the smoke test's task been done?
    "roles/cloudtasks.taskDeleter", # take it away again where it was not
  ])

  name     = google_cloud_tasks_queue.spool.name
  location = google_cloud_tasks_queue.spool.location
  role     = each.key
  member   = local.member["deployer"]
}
