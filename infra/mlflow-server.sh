#!/usr/bin/env bash
# Runs MLflow's server; the one place of its flags, for compose.yaml, kuberay/mlflow.yaml and a host of your own.
# It has no users and passwords of its own, and whoever reaches it reads what it can read: bind it to loopback, or put
# a proxy that asks for them in front.
#
# MLFLOW_BACKEND_STORE_URI       postgresql+psycopg://user@host:port/database, without the password
# MLFLOW_DATABASE_PASSWORD_FILE  a file that holds it; or PGPASSWORD, the variable of PostgreSQL's own library
# MLFLOW_ARTIFACTS_DESTINATION   a folder, or s3://bucket/path
# MLFLOW_SERVER_ALLOWED_HOSTS    names by which it is asked, each with and without its port: others get a 403
# MLFLOW_HOST, MLFLOW_PORT       127.0.0.1 and 5000 unless said otherwise
# MLFLOW_WORKERS                 processes (1)
set -euo pipefail
: "${MLFLOW_BACKEND_STORE_URI:?where the runs are kept}"
: "${MLFLOW_ARTIFACTS_DESTINATION:?where the artifacts are kept}"
: "${MLFLOW_SERVER_ALLOWED_HOSTS:?the names by which the server is asked}"

if [ -n "${MLFLOW_DATABASE_PASSWORD_FILE:-}" ]; then
    # Not in the address, which every user of the machine sees in the list of processes.
    PGPASSWORD=$(cat "$MLFLOW_DATABASE_PASSWORD_FILE")
    export PGPASSWORD
fi

# Nothing calls home; no job runner and no gateway (together eight processes); nothing that is sent is ever run: no
# scorers of others, no pickles.
export DO_NOT_TRACK=true
export MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_MODEL_CATALOG_URI=''
export MLFLOW_ENABLE_AI_GATEWAY=false
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS=false
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false

exec mlflow server \
    --backend-store-uri "$MLFLOW_BACKEND_STORE_URI" \
    --serve-artifacts \
    --artifacts-destination "$MLFLOW_ARTIFACTS_DESTINATION" \
    --allowed-hosts "$MLFLOW_SERVER_ALLOWED_HOSTS" \
    --host "${MLFLOW_HOST:-127.0.0.1}" \
    --port "${MLFLOW_PORT:-5000}" \
    --workers "${MLFLOW_WORKERS:-1}" \
    --uvicorn-opts --no-access-log \
    "$@"
