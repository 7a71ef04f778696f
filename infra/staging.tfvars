# The environment that every push is deployed to. Put your own values in; variables.tf says what each one is for.

project_id  = "your-spool-staging"
environment = "staging"
region      = "europe-west1"

# Cold starts are fine here.
ingress_min_instances = 0
worker_min_instances  = 0
ingress_max_instances = 3
worker_max_instances  = 3

# The model's key goes into the secret spool-model-key. For models on Google Cloud itself: model_key_env = "", model = "google-cloud:…".
model_key_env = "ANTHROPIC_API_KEY"

transcript_readers = [] # "group:support@your-company.com"
alert_emails       = [] # "on-call@your-company.com"; without anybody here there are no alerts
billing_account    = "" # "000000-000000-000000"
monthly_budget     = 20

# After connecting the repository to Cloud Build: "projects/…/locations/europe-west1/connections/…/repositories/…"
repository = ""

# Production's deployer looks here for what staging ran.
release_readers = [] # "serviceAccount:spool-deployer@your-spool-production.iam.gserviceaccount.com"
