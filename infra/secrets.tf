# Containers only: a secret's value never goes through Terraform, so it is in no state and no plan. Add one by hand:
#
#   printf %s "$TOKEN" | gcloud secrets versions add spool-slack-bot-token --data-file=-

locals {
  ingress_secrets = { SLACK_SIGNING_SECRET = "spool-slack-signing-secret" }
  worker_secrets = merge(
    { SLACK_BOT_TOKEN = "spool-slack-bot-token" },
    var.model_key_env == "" ? {} : { (var.model_key_env) = "spool-model-key" },
    var.secrets,
  )
  secrets = merge(local.ingress_secrets, local.worker_secrets)
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secrets

  secret_id           = each.value
  version_destroy_ttl = "86400s" # a version destroyed by mistake can be brought back for a day

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "ingress" {
  for_each = local.ingress_secrets

  secret_id = google_secret_manager_secret.secret[each.key].id
  role      = "roles/secretmanager.secretAccessor" # to verify that Slack signed; the ingress reads no other secret
  member    = local.member["ingress"]
}

resource "google_secret_manager_secret_iam_member" "worker" {
  for_each = local.worker_secrets

  secret_id = google_secret_manager_secret.secret[each.key].id
  role      = "roles/secretmanager.secretAccessor" # to speak in Slack, to the model and to whatever the tools need
  member    = local.member["worker"]
}

resource "google_secret_manager_secret_iam_member" "deployer_versions" {
  for_each = local.secrets

  secret_id = google_secret_manager_secret.secret[each.key].id
  role      = "roles/secretmanager.viewer" # which version is the newest, to pin it; not its value
  member    = local.member["deployer"]
}

resource "google_secret_manager_secret_iam_member" "deployer_signs" {
  secret_id = google_secret_manager_secret.secret["SLACK_SIGNING_SECRET"].id
  role      = "roles/secretmanager.secretAccessor" # the smoke test of the Request URL signs an event as Slack does
  member    = local.member["deployer"]
}
