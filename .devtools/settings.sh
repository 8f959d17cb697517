# shellcheck shell=bash
# What can be chosen: ports, and services from outside. What is generated: secrets.
#
# A choice made in the environment is remembered in .dev/settings, so that the
# next command, in another shell, finds the same services.

readonly PORTS=(FLEETLOG_PORT FLEETLOG_PROJECTOR_PORT FLEETLOG_KAFKA_PORT FLEETLOG_KAFKA_CONTROLLER_PORT
  FLEETLOG_KAFKA_PROXIED_PORT FLEETLOG_KAFKA_PROXY_PORT FLEETLOG_POSTGRES_PORT)
readonly ROLES=(operator api projector ingest)

readonly -A PORT_DEFAULTS=(
  [FLEETLOG_PORT]=8080
  [FLEETLOG_PROJECTOR_PORT]=8081
  [FLEETLOG_KAFKA_PORT]=19092
  [FLEETLOG_KAFKA_CONTROLLER_PORT]=19093
  # A second listener, advertised under an address where a test may put a proxy: it takes Kafka from one client alone.
  [FLEETLOG_KAFKA_PROXIED_PORT]=19094
  [FLEETLOG_KAFKA_PROXY_PORT]=19095
  [FLEETLOG_POSTGRES_PORT]=15432
)

declare -A CHOSEN=()

settings_load() {
  umask 022
  mkdir -p "$STATE" "$STATE/run" "$STATE/logs" "$STATE/bin"
  install -d -m 700 "$STATE/secrets"

  local port
  for port in "${PORTS[@]}"; do
    [[ -z ${!port:-} ]] || CHOSEN[$port]=1
    printf -v "$port" '%s' "${!port:-$(remembered "$port" "${PORT_DEFAULTS[$port]}")}"
    if [[ ! ${!port} =~ ^[1-9][0-9]{0,4}$ ]] || ((${!port} > 65535)); then
      die "$port must be a port from 1 to 65535, not '${!port}'"
    fi
  done
  adopt_ports postgres FLEETLOG_POSTGRES_PORT
  adopt_ports kafka FLEETLOG_KAFKA_PORT FLEETLOG_KAFKA_CONTROLLER_PORT FLEETLOG_KAFKA_PROXIED_PORT
  ports_differ
  # The roles are told an address each; these names are between you and ./dev.
  export -n "${PORTS[@]}"

  OUTSIDE_DATABASE_URL=$(outside DATABASE_URL)
  OUTSIDE_KAFKA_BROKERS=$(outside KAFKA_BROKERS)
  urls_derive
}

# What runs already is where it is, unless the environment asks for another port.
adopt_ports() {
  local name=$1 ports port
  shift
  read -ra ports <<<"$(ports_of "$name")"
  ((${#ports[@]} == $#)) || return 0
  for port in "$@"; do
    [[ -n ${CHOSEN[$port]:-} ]] || printf -v "$port" '%s' "${ports[0]}"
    ports=("${ports[@]:1}")
  done
}

ports_differ() {
  local -A holder=()
  local port
  for port in "${PORTS[@]}"; do
    [[ -z ${holder[${!port}]:-} ]] || die "${holder[${!port}]} and $port are both ${!port}: set one of them to another port"
    holder[${!port}]=$port
  done
}

# A service given from outside: by the environment now, or by it at an earlier start.
# Set but empty means: no longer. What .dev/env itself exports is ours, not from outside.
outside() {
  local name=$1
  if [[ -z ${!name+set} ]] || exported_by_us "$name"; then
    remembered "OUTSIDE_$name" ''
  else
    printf '%s' "${!name}"
  fi
}

exported_by_us() {
  local name=$1 file=${FLEETLOG_DEV_ENV:-}
  [[ -r $file ]] && grep -qxF -- "export $name=$(printf '%q' "${!name}")" "$file"
}

remembered() {
  local name=$1 fallback=$2 line
  if [[ -r $STATE/settings ]] && line=$(grep -m1 "^$name=" "$STATE/settings"); then
    printf '%s' "${line#*=}"
  else
    printf '%s' "$fallback"
  fi
}

settings_remember() {
  local name
  {
    for name in "${PORTS[@]}"; do printf '%s=%s\n' "$name" "${!name}"; done
    printf 'OUTSIDE_DATABASE_URL=%s\n' "$OUTSIDE_DATABASE_URL"
    printf 'OUTSIDE_KAFKA_BROKERS=%s\n' "$OUTSIDE_KAFKA_BROKERS"
  } | write_private "$STATE/settings"
}

# Everything that follows from the choices.
urls_derive() {
  URL="http://127.0.0.1:$FLEETLOG_PORT"
  PROJECTOR_URL="http://127.0.0.1:$FLEETLOG_PROJECTOR_PORT"
  BROKERS=${OUTSIDE_KAFKA_BROKERS:-127.0.0.1:$FLEETLOG_KAFKA_PORT}
  if [[ -n $OUTSIDE_DATABASE_URL ]]; then
    SUPERUSER_DATABASE_URL=$OUTSIDE_DATABASE_URL
    ADMIN_DATABASE_URL=$OUTSIDE_DATABASE_URL
  else
    local server="127.0.0.1:$FLEETLOG_POSTGRES_PORT"
    SUPERUSER_DATABASE_URL="postgres://postgres:$(secret superuser)@$server/postgres"
    ADMIN_DATABASE_URL="postgres://fleetlog:$(secret owner)@$server/fleetlog"
  fi
}

# The owner's URL with another user in it.
database_url_of() {
  local role=$1 rest=${ADMIN_DATABASE_URL#*://}
  local hosts=${rest%%/*} path=/${rest#*/}
  [[ $rest == */* ]] || path=/
  printf '%s://fleetlog_%s:%s@%s%s' "${ADMIN_DATABASE_URL%%://*}" "$role" "$(secret "$role")" "${hosts##*@}" "$path"
}

# A generated secret, the same at every call. Hexadecimal, so that no URL needs to escape it.
secret() {
  local file=$STATE/secrets/$1
  [[ -s $file ]] || od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n' | write_private "$file"
  cat "$file"
}

# Seals credentials at rest: 32 bytes. Losing it means issuing every credential again.
sealing_key_file() {
  local file=$STATE/secrets/sealing.key
  [[ -s $file ]] || od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n' | write_private "$file"
  printf '%s' "$file"
}

# Writes standard input to a file that only its owner can read, whole or not at all.
write_private() {
  local file=$1
  (umask 077 && cat >"$file.new" && mv -f "$file.new" "$file")
}
