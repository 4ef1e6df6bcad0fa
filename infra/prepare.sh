#!/usr/bin/env bash
# Makes what compose.yaml, kuberay/ and ray-cluster.yaml expect beside them: secrets and folders. Run it as the
# user who will own the data. What is already there stays as it is, so a second call changes nothing.
set -euo pipefail
cd "$(dirname "$0")"
umask 077

mkdir -p secrets work artifacts data
for name in ray_token postgres_password ledger_password tracking_password; do
    if [ ! -s "secrets/$name" ]; then
        # 32 random bytes as hexadecimal digits, without a newline: Ray takes a token as it stands.
        head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"secrets/$name"
    fi
done

# Containers run as the owner of these files, who alone may read them.
if [ ! -e .env ]; then
    printf 'RUN_AS_UID=%s\nRUN_AS_GID=%s\n' "$(id -u)" "$(id -g)" >.env
fi
echo "ready: $PWD/secrets (keep a copy elsewhere: without it the databases' data are locked away)"
