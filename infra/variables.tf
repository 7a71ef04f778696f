# Values stand in staging.tfvars and production.tfvars. Prices are list prices of europe-west1 in 2026, per month, and change.

variable "project_id" {
  description = "The Google Cloud project of this environment; nothing else should live in it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lower case letters, digits and hyphens, and begins with a letter."
  }
  validation {
    condition     = !startswith(var.project_id, "your-")
    error_message = "This is still the example: put your own project id into the tfvars file."
  }
}

variable "environment" {
  description = "staging deploys every push to `branch`; production deploys tags, after an approval, if staging ran that commit."
  type        = string

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "Write staging or production."
  }
}

variable "region" {
  description = "Where everything runs and is kept: a Cloud Run region that has Cloud Tasks, Cloud Scheduler and Firestore too."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Write one region, such as europe-west1; a multi-region such as eu is none."
  }
}

# What runs

variable "ingress_min_instances" {
  description = <<-EOT
    Instances of the ingress that are always awake. 0 is the cheapest, about $0: the first message after a pause meets a cold
    start, and if Slack's 3 seconds are over it sends the message again. 1 keeps a cold ingress from happening, about $10.
  EOT
  type        = number
  default     = 0

  validation {
    condition     = var.ingress_min_instances >= 0 && var.ingress_min_instances <= var.ingress_max_instances
    error_message = "Write 0 or more, and no more than ingress_max_instances."
  }
}

variable "worker_min_instances" {
  description = <<-EOT
    Instances of the worker that are always awake. 0 is the cheapest, about $0, and seldom cold: the sweep calls it each
    minute. Where it is, an answer begins a few seconds later. 1 saves those seconds, about $13.
  EOT
  type        = number
  default     = 0

  validation {
    condition     = var.worker_min_instances >= 0 && var.worker_min_instances <= var.worker_max_instances
    error_message = "Write 0 or more, and no more than worker_max_instances."
  }
}

variable "ingress_max_instances" {
  description = "The most instances of the ingress: what a flood of requests can cost, at most about $60 each if it never stops."
  type        = number
  default     = 10

  validation {
    condition     = var.ingress_max_instances >= 1 && var.ingress_max_instances <= 100
    error_message = "Write 1 to 100."
  }
}

variable "worker_max_instances" {
  description = "The most instances of the worker, at most about $70 each if none ever rests; the queue is slowed down to what they can take."
  type        = number
  default     = 10

  validation {
    condition     = var.worker_max_instances >= 1 && var.worker_max_instances <= 100
    error_message = "Write 1 to 100."
  }
}

variable "worker_concurrency" {
  description = "Turns at the same time in one instance of the worker: they wait for models, but share 1 CPU and 1 GiB."
  type        = number
  default     = 8

  validation {
    condition     = var.worker_concurrency >= 1 && var.worker_concurrency <= 80
    error_message = "Write 1 to 80."
  }
}

variable "model" {
  description = "Overrides the model of functions/agent/, as `provider:name`; empty: as the agent says."
  type        = string
  default     = ""

  validation {
    condition     = var.model == "" || can(regex("^[a-z0-9-]+(/[a-z0-9-]+)?:[^\\s,]+$", var.model))
    error_message = "Write provider:name, such as anthropic:claude-sonnet-5-5 or google-cloud:gemini-3-pro, or nothing."
  }
}

variable "model_key_env" {
  description = "The environment variable in which the model's client looks for its key; empty: no key, for models on Google Cloud itself."
  type        = string
  default     = "ANTHROPIC_API_KEY"

  validation {
    condition     = var.model_key_env == "" || can(regex("^[A-Z][A-Z0-9_]*$", var.model_key_env))
    error_message = "Write a name such as ANTHROPIC_API_KEY, or nothing."
  }
}

variable "model_location" {
  description = "Where models `google-cloud:` are called: a region, or global."
  type        = string
  default     = "global"

  validation {
    condition     = can(regex("^(global|[a-z]+-[a-z]+[0-9]+|us|eu)$", var.model_location))
    error_message = "Write a region, us, eu or global."
  }
}

variable "secrets" {
  description = "The secrets of functions/policy.py: environment variable to secret id. In policy.auto.tfvars.json, which `spool stage --infra` writes."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, id in var.secrets : can(regex("^[A-Z][A-Z0-9_]*$", name)) && can(regex("^spool-[a-z0-9-]+$", id))])
    error_message = "Each name is an environment variable and each id begins with spool-: run `spool stage --infra` again."
  }
  validation {
    condition     = length(setintersection(keys(var.secrets), ["SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN", var.model_key_env])) == 0
    error_message = "SLACK_SIGNING_SECRET, SLACK_BOT_TOKEN and the model's key are Spool's own: take them out of policy.secrets."
  }
}

variable "log_content" {
  description = "Whether logs may quote what people and models said. Logs are read by more people than the transcripts are."
  type        = bool
  default     = false
}

# Who may look, and who is told

variable "transcript_readers" {
  description = "Who may read the bucket of transcripts, and nothing else: user:…, group:… or serviceAccount:…"
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.transcript_readers : can(regex("^(user|group|serviceAccount|principal|principalSet):", member))])
    error_message = "Write members such as group:support@example.com; allUsers would show every conversation to the world."
  }
}

variable "alert_emails" {
  description = "Who gets the alerts by e-mail. Nobody here and in alert_channels: no alerts."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+$", address)) && !endswith(address, "@example.com")])
    error_message = "Write e-mail addresses of your own."
  }
}

variable "alert_channels" {
  description = "Notification channels that were made elsewhere, such as PagerDuty, as projects/P/notificationChannels/N."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for channel in var.alert_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "Write projects/PROJECT/notificationChannels/NUMBER: `gcloud beta monitoring channels list` shows them."
  }
}

variable "billing_account" {
  description = "For the budget: 000000-000000-000000. Empty: no budget, for whoever may not touch the billing account."
  type        = string
  default     = ""

  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "Write an id such as 01AB23-CD45EF-678901, or nothing."
  }
}

variable "monthly_budget" {
  description = "What Google may charge for this project in a month, in the billing account's currency, before it sends a mail. The model's own bill is not in it unless the model is Google's."
  type        = number
  default     = 50

  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "Write a whole number, 1 or more."
  }
}

# How it is built

variable "repository" {
  description = "The repository that Cloud Build is connected to: projects/P/locations/R/connections/C/repositories/N. Empty: builds are started by hand."
  type        = string
  default     = ""

  validation {
    condition     = var.repository == "" || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.repository))
    error_message = "Write projects/P/locations/R/connections/C/repositories/N: `gcloud builds repositories list` shows it."
  }
  validation {
    condition     = var.repository == "" || startswith(var.repository, "projects/${var.project_id}/locations/${var.region}/")
    error_message = "A trigger sees connections of its own project and region only: connect the repository there."
  }
}

variable "branch" {
  description = "The branch whose every push is deployed to staging."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", var.branch))
    error_message = "Write a branch's plain name."
  }
}

variable "releases_bucket" {
  description = "Production: the bucket in which staging records what it ran. Empty in staging, which makes it."
  type        = string
  default     = ""

  validation {
    condition     = (var.environment == "production") == (var.releases_bucket != "")
    error_message = "Production needs staging's releases bucket (`terraform output releases_bucket` there); staging makes its own."
  }
  validation {
    condition     = !startswith(var.releases_bucket, "your-")
    error_message = "This is still the example: put staging's releases bucket into the tfvars file."
  }
}

variable "release_readers" {
  description = "Staging: who may read what it ran, which is production's deployer."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.release_readers : startswith(member, "serviceAccount:")])
    error_message = "Write serviceAccount:spool-deployer@PRODUCTION-PROJECT.iam.gserviceaccount.com."
  }
}
