output "events_api_url" {
  description = "Slack's Request URL, for event subscriptions and interactivity; `spool manifest` puts it into the app's manifest."
  value       = "${local.url["ingress"]}/slack/events"
}

output "ingress_url" {
  description = "The public service."
  value       = local.url["ingress"]
}

output "worker_url" {
  description = "The private service: only the queue and the scheduler get in."
  value       = local.url["worker"]
}

output "bucket" {
  description = "Where the transcripts are: gcloud storage cat gs://BUCKET/threads/TEAM/CHANNEL/THREAD_TS.json"
  value       = google_storage_bucket.transcripts.name
}

output "queue" {
  description = "The queue's full name."
  value       = google_cloud_tasks_queue.spool.id
}

output "images" {
  description = "Where the images go."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.spool.repository_id}"
}

output "secrets" {
  description = "Secrets that want a version before the first deploy: environment variable to secret id."
  value       = local.secrets
}

output "trigger" {
  description = "The Cloud Build trigger; empty without a connected repository."
  value       = one(google_cloudbuild_trigger.deploy[*].name)
}

output "substitutions" {
  description = "What the trigger tells cloudbuild.yaml; a build by hand is given the same."
  value       = local.substitutions
}

output "by_hand" {
  description = "The same in one line, each after a semicolon: gcloud takes it behind --substitutions=^;^"
  value       = join(";", [for name, value in local.substitutions : "${name}=${value}"])
}

output "deployer" {
  description = "Whom builds run as; production's stands in staging's release_readers."
  value       = local.email["deployer"]
}

output "releases_bucket" {
  description = "Where staging records what it ran; production's tfvars name it."
  value       = local.releases
}

output "dashboard" {
  description = "The dashboard's address."
  value       = "https://console.cloud.google.com/monitoring/dashboards?project=${var.project_id}"
}
