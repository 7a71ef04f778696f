# The environment that people talk to. Put your own values in; variables.tf says what each one is for.

project_id  = "your-spool-production"
environment = "production"
region      = "europe-west1"

# An ingress that is always awake acks the first message after a pause within Slack's 3 seconds: about $10 a month.
ingress_min_instances = 1
worker_min_instances  = 0
ingress_max_instances = 10
worker_max_instances  = 10

# The model's key goes into the secret spool-model-key. For models on Google Cloud itself: model_key_env = "", model = "google-cloud:…".
model_key_env = "ANTHROPIC_API_KEY"

transcript_readers = [] # "group:support@your-company.com"
alert_emails       = [] # "on-call@your-company.com"; without anybody here there are no alerts
billing_account    = "" # "000000-000000-000000"
monthly_budget     = 100

# After connecting the repository to Cloud Build: "projects/…/locations/europe-west1/connections/…/repositories/…"
repository = ""

# Staging's: `terraform output releases_bucket` there.
releases_bucket = "your-spool-staging-spool-releases"
