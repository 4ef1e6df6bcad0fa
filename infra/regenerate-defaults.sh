#!/usr/bin/env bash
# Regenerates the defaults of a study, and keeps what changed since the last time.
#
#     regenerate-defaults.sh STUDY FOLDER [option of `groundrules run`]...
#
# STUDY is a study file, or the name of a study that ships. A finished study is never run again, so each release is
# a study of its own with the month in its name: guidelines-2026-11 (or STAMP in place of the month). Called again
# within the month, it resumes. In FOLDER, for that name:
#
#     NAME.defaults.yaml     the release
#     NAME.changes.md        what changed against the release before it; at first against the textbook
#     STUDY.defaults.yaml    the newest release
#
# Exit codes: 0 done, whether or not anything changed; otherwise those of groundrules.
set -euo pipefail
[ "$#" -ge 2 ] || { echo 'usage: regenerate-defaults.sh STUDY FOLDER [option of groundrules run]...' >&2; exit 2; }
study=$1 folder=$2
shift 2

file=$study
if [ ! -f "$file" ]; then
    file=$(python -P -c 'import sys; from studies.spec.load import SPECS; print(SPECS / f"{sys.argv[1]}.yaml")' "$study")
fi
study=$(basename "$study" .yaml)
name="$study-${STAMP:-$(date -u +%Y-%m)}"
newest="$folder/$study.defaults.yaml"
release="$folder/$name.defaults.yaml"
if [ -f "$release" ]; then
    echo "$release is there already; nothing to do"
    exit 0
fi

mkdir -p "$folder"
sed "s/^study: .*/study: $name/" "$file" >"$folder/$name.yaml"
groundrules run "$folder/$name.yaml" "$@"

before=textbook
previous=()
if [ -f "$newest" ]; then
    before=$newest
    previous=(--previous "$newest") # what is as good as before stays
fi
groundrules export "$name" --format yaml "${previous[@]}" --output "$release.new"
# 0: nothing changed; 1: something did, which is no failure here; 2: a file that is not sound.
status=0
groundrules diff "$before" "$release.new" --format markdown --output "$folder/$name.changes.md" || status=$?
if [ "$status" -gt 1 ]; then exit "$status"; fi

# Last, so that what is there is whole.
cp "$release.new" "$newest.new"
mv "$newest.new" "$newest"
mv "$release.new" "$release"
cat "$folder/$name.changes.md"
