#!/usr/bin/env bash
# Makes the two databases, each with an owner who can reach no other. PostgreSQL's image runs it once, on an empty
# data folder; on a server of your own run it once as its administrator (PGHOST, PGUSER, PGPASSWORD say which).
#
# Passwords: GROUNDRULES_LEDGER_PASSWORD and GROUNDRULES_TRACKING_PASSWORD, or files that the same names with
# _FILE at their end point to.
set -euo pipefail

secret() { # the value of a variable, or of the file that NAME_FILE names
    local file="${1}_FILE"
    if [ -n "${!1:-}" ]; then printf '%s' "${!1}"; else cat "${!file:?one of $1 and $file must be set}"; fi
}
ledger_password=$(secret GROUNDRULES_LEDGER_PASSWORD)
tracking_password=$(secret GROUNDRULES_TRACKING_PASSWORD)

# By the environment and not as arguments, which every user of the machine sees in the list of processes.
LEDGER_PASSWORD=$ledger_password TRACKING_PASSWORD=$tracking_password \
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --username "${PGUSER:-${POSTGRES_USER:-postgres}}" --dbname postgres <<'SQL'
\getenv ledger_password LEDGER_PASSWORD
\getenv tracking_password TRACKING_PASSWORD
CREATE ROLE groundrules LOGIN PASSWORD :'ledger_password';
CREATE ROLE mlflow LOGIN PASSWORD :'tracking_password';
CREATE DATABASE groundrules OWNER groundrules;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE groundrules, mlflow FROM PUBLIC;
SQL
