#!/usr/bin/env bash
# Makes the namespace and its secrets from the files of infra/prepare.sh. Called again, it brings changed ones up to
# date; pods read a secret when they start.
set -euo pipefail
cd "$(dirname "$0")/.."
namespace=groundrules

apply() { kubectl apply --filename -; }

kubectl create namespace "$namespace" --dry-run=client --output yaml | apply
# KubeRay wants Ray's token under the key auth_token.
kubectl create secret generic ray-token --namespace "$namespace" --dry-run=client --output yaml \
    --from-file=auth_token=secrets/ray_token | apply
for name in postgres ledger tracking; do
    kubectl create secret generic "$name-password" --namespace "$namespace" --dry-run=client --output yaml \
        --from-file=password="secrets/${name}_password" | apply
done
