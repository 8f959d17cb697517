#!/usr/bin/env bash
# Registers the organization 'sample' with one integration per way of
# authenticating, and remembers ids and secrets in FOLDER:
#
#   sample.json     what `fleetlog simulate --targets` reads
#   header          the shared secret as a header, for `curl -H @header`
#   delivery.json   a delivery to send with it
#
# Running it again changes nothing. It needs jq, and `fleetlog` in the PATH with
# the owner's database and the sealing key in the environment.
set -euo pipefail

readonly FOLDER=${1:?usage: sample.sh FOLDER} PROJECT=sample-project HEADER=x-api-key
readonly SCHEMES=(shared-secret hmac-sha256 timestamped-hmac standard-webhooks)

umask 077
mkdir -p "$FOLDER"

organization_id() {
  local id
  id=$(fleetlog organization list --json | jq -r 'select(.name == "sample") | .organization_id' | head -n1)
  [[ -n $id ]] || id=$(fleetlog organization create sample --json | jq -er .organization_id)
  printf '%s' "$id"
}

integration_id() {
  local organization=$1 name=$2 id
  id=$(fleetlog integration list --organization "$organization" --json |
    jq -r --arg name "$name" 'select(.name == $name) | .integration_id' | head -n1)
  [[ -n $id ]] || id=$(fleetlog integration create "$name" --organization "$organization" --provider golioth \
    --project "$PROJECT" --no-credential --json | jq -er .integration_id)
  printf '%s' "$id"
}

# An integration and its secret, as one JSON object. Secrets are shown once, at
# their making: where ours is lost, another credential is added.
integration() {
  local organization=$1 scheme=$2 name=sample-$2 id file=$FOLDER/$2.secret.json
  local -a options=()
  id=$(integration_id "$organization" "$name")
  if [[ $(jq -r .integration_id "$file" 2>/dev/null) != "$id" ]]; then
    [[ $scheme != shared-secret ]] || options=(--header "$HEADER")
    fleetlog credential add "$id" --scheme "$scheme" "${options[@]}" --json |
      jq --arg id "$id" '{integration_id: $id, secret: .secret}' >"$file.new"
    mv "$file.new" "$file"
  fi
  jq --arg name "$name" --arg scheme "$scheme" --arg project "$PROJECT" \
    --arg url "${FLEETLOG_PUBLIC_URL%/}/v1/webhooks/$id" \
    '{name: $name, integration_id, url: $url, scheme: $scheme, secret, project: $project}' "$file"
}

organization=$(organization_id)
for scheme in "${SCHEMES[@]}"; do
  integration "$organization" "$scheme"
done | jq --slurp --arg organization "$organization" \
  '{organization_id: $organization, integrations: .}' >"$FOLDER/sample.json.new"
mv "$FOLDER/sample.json.new" "$FOLDER/sample.json"

jq -r --arg header "$HEADER" '.integrations[0] | "\($header): \(.secret)"' "$FOLDER/sample.json" >"$FOLDER/header"
cat >"$FOLDER/delivery.json" <<JSON
{"event": "device.online", "project_id": "$PROJECT",
 "device": {"id": "my-first-device-id", "name": "my-first-device", "status": "online",
            "firmwareVersion": "1.0.0", "metadata": {"placed": "on my desk"}}}
JSON
