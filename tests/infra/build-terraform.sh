#!/usr/bin/env bash
# Builds Terraform from its published source, for machines that cannot download it: two minutes, no account.
#
#   tests/infra/build-terraform.sh FOLDER      makes FOLDER/terraform
#
# `go install` refuses a module with replace directives, which name backends that are not published on their own. The tests need no
# backend, so these are left out: what comes out checks and plans, and is not for `terraform apply`.
set -euo pipefail
version=1.11.4
target="$(mkdir -p "${1:?where to}" && cd "$1" && pwd)"

source="$(mktemp -d)"
trap 'rm -rf "$source"' EXIT
cd "$source"
go mod download -json "github.com/hashicorp/terraform@v$version" > found.json
cp -R "$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' found.json)" terraform
chmod -R u+w terraform
cd terraform

local='github.com/hashicorp/terraform/internal/\(backend/remote-state/[a-z0-9]*\|legacy\)'
sed -i "\\#^replace $local#d; \\#^[[:space:]]*$local #d; /^godebug /d" go.mod
sed -i -E '/backend(Azure|Consul|Cos|GCS|Kubernetes|OSS|Pg|S3)\b/d' internal/backend/init/init.go
go build -mod=mod -trimpath -ldflags "-s -w" -o "$target/terraform" .
