#!/usr/bin/env bash
# Refuses to go on unless every file it is given holds a secret that its owner alone may read.
set -euo pipefail
[ "$#" -gt 0 ] || { echo 'usage: check-secrets.sh FILE...' >&2; exit 2; }

wrong=0
for file in "$@"; do
    if [ ! -s "$file" ] || [ ! -r "$file" ]; then
        echo "error: $file is missing, empty or not readable by user $(id -u); run infra/prepare.sh as the user \
that .env names" >&2
        wrong=2
    elif [ -n "$(find -L "$file" -perm /077)" ]; then
        echo "error: $file may be read by others than its owner; chmod 600 it" >&2
        wrong=2
    fi
done
exit "$wrong"
