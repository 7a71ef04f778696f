-- The transcripts as a table of BigQuery, read from the bucket as they are: one row per thread.
--
--   sed 's/BUCKET/my-project-spool/' infra/transcripts.sql | bq query --use_legacy_sql=false --location=REGION
--
-- The dataset `spool` must be where the bucket is: bq mk --dataset --location=REGION spool. Whoever asks needs to read the bucket.
-- Names and types are those of the transcript's JSON Schema. JSON is what has no fixed form (steps are pydantic-ai's messages), and
-- slots, whose elements may be null, which an ARRAY of BigQuery may not hold.
CREATE OR REPLACE EXTERNAL TABLE `spool.transcripts` (
  `schema` INT64,
  writer STRING,
  pydantic_ai STRING,
  team STRING,
  channel STRING,
  thread_ts STRING,
  title STRING,
  turns ARRAY<STRUCT<
    id STRING,
    messages ARRAY<STRUCT<
      key STRING,
      ts STRING,
      user STRING,
      text STRING,
      files ARRAY<STRUCT<id STRING, name STRING, url STRING>>
    >>,
    state STRING,
    outcome STRING,
    owner STRING,
    epoch INT64,
    attempts INT64,
    messy BOOL,
    steps JSON,
    unknown ARRAY<STRING>,
    reply STRUCT<parts ARRAY<STRING>, render STRING>,
    slots JSON,
    delivered BOOL,
    model STRING,
    usage JSON,
    cost_usd FLOAT64,
    revision STRING,
    instructions STRING,
    started_at FLOAT64,
    finished_at FLOAT64
  >>,
  archive JSON,
  archived_keys ARRAY<STRING>,
  participation JSON
)
OPTIONS (
  format = 'NEWLINE_DELIMITED_JSON',
  uris = ['gs://BUCKET/threads/*'],
  ignore_unknown_values = TRUE -- fields of a later version
);
