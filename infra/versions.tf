# Two environments from these files, each a Google Cloud project of its own:
#
#   terraform -chdir=infra init -reconfigure -backend-config=bucket=PROJECT-spool-state -backend-config=prefix=spool
#   terraform -chdir=infra apply -var-file=staging.tfvars
#
# Both, each time: this folder remembers the environment of the last `init`. Not `-migrate-state`, which Terraform offers as
# well: it would copy one environment's state over the other's.
#
# One file per kind of thing. What is deployed into the two services is no business of Terraform's: cloudbuild.yaml owns it.

terraform {
  required_version = ">= 1.9" # validations that look at two variables

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The state's bucket is made by hand, once, before everything else: `spool setup` does it. Its name is given to `init`.
  backend "gcs" {}
}

provider "google" {
  project = var.project_id
  region  = var.region
}

# Budgets belong to a billing account, so a person's request must say which project's quota it uses.
provider "google" {
  alias                 = "billing"
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true
}

data "google_project" "this" {
  project_id = var.project_id
}
