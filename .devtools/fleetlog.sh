# shellcheck shell=bash
# The product itself: built, set up, started, shown.

readonly SERVICES=(ingest projector)
readonly SAMPLE=$STATE/sample

fleetlog_build() {
  command -v cargo >/dev/null || die 'a Rust toolchain is needed: https://rustup.rs'
  local -a profile=()
  local folder=debug
  if [[ ${FLEETLOG_RELEASE:-} == 1 ]]; then
    profile=(--release)
    folder=release
  fi
  step "building fleetlog, profile $folder"
  [[ -e $STATE/bin/fleetlog ]] || say '  the first build takes minutes'
  cargo build --locked --workspace --bin fleetlog "${profile[@]}"
  ln -sfn "$(target_folder)/$folder/fleetlog" "$STATE/bin/fleetlog"
  step_done
}

target_folder() { cargo metadata --locked --no-deps --format-version 1 | jq -r .target_directory; }

# What the command needs to know, as .dev/env gives it to whoever sources it.
environment() {
  local name
  local -A value=(
    [FLEETLOG_DEV_ENV]=$STATE/env
    [FLEETLOG_URL]=$URL
    [FLEETLOG_PUBLIC_URL]=$URL
    [KAFKA_BROKERS]=$BROKERS
    [FLEETLOG_SINGLE_BROKER]=true
    [FLEETLOG_SEALING_KEY_FILE]=$(sealing_key_file)
    [DATABASE_URL]=$(database_url_of operator)
    [FLEETLOG_ADMIN_DATABASE_URL]=$ADMIN_DATABASE_URL
    [FLEETLOG_SPOOL_DIR]=$STATE/spool
    [FLEETLOG_CONTROL_DATABASE_URL]=$(database_url_of ingest)
    [FLEETLOG_PROJECTOR_DATABASE_URL]=$(database_url_of projector)
  )
  for name in "${!value[@]}"; do
    printf 'export %s=%q\n' "$name" "${value[$name]}"
  done | sort
}

environment_write() {
  {
    printf '# Written by ./dev up. Source it: `fleetlog`, psql and Kafka clients then know where to go.\n'
    printf '# DATABASE_URL may only read. The others hold passwords: keep this file to yourself.\n'
    environment
    # shellcheck disable=SC2016 # for the shell that sources the file
    printf 'case ":$PATH:" in *:%q:*) ;; *) export PATH=%q:"$PATH" ;; esac\n' "$STATE/bin" "$STATE/bin"
  } | write_private "$STATE/env"
}

# Runs the command as somebody who sourced .dev/env. In a subshell: passwords never show in arguments.
fleetlog() (
  eval "$(environment)"
  exec "$STATE/bin/fleetlog" "$@"
)

fleetlog_set_up() {
  step 'creating topics'
  fleetlog topics create --partitions 12 --single-broker
  step_done
  step 'migrating the database'
  (
    local role
    for role in "${ROLES[@]}"; do
      export "FLEETLOG_${role^^}_PASSWORD=$(secret "$role")"
    done
    fleetlog migrate
  )
  step_done
}

# Where a service listens; where it would, if it does not run.
service_port() {
  local ports
  ports=$(ports_of "$1")
  [[ -z $ports ]] || {
    printf '%s' "${ports%% *}"
    return
  }
  case $1 in
    ingest) printf '%s' "$FLEETLOG_PORT" ;;
    projector) printf '%s' "$FLEETLOG_PROJECTOR_PORT" ;;
    kafka) printf '%s' "$FLEETLOG_KAFKA_PORT" ;;
    postgres) printf '%s' "$FLEETLOG_POSTGRES_PORT" ;;
  esac
}

roles_start() {
  # Each role is told what it needs, and no password beyond that.
  role_start ingest "$FLEETLOG_PORT" FLEETLOG_ADMIN_DATABASE_URL FLEETLOG_PROJECTOR_DATABASE_URL DATABASE_URL
  role_start projector "$FLEETLOG_PROJECTOR_PORT" FLEETLOG_ADMIN_DATABASE_URL FLEETLOG_CONTROL_DATABASE_URL FLEETLOG_SEALING_KEY_FILE FLEETLOG_SPOOL_DIR DATABASE_URL
}

# Starts a role; one that runs an older build or with other settings is replaced.
role_start() (
  local name=$1 port=$2 settings
  shift 2
  eval "$(environment)"
  unset "$@"
  FLEETLOG_LISTEN=127.0.0.1:$port
  export FLEETLOG_LISTEN
  settings=$(env | grep -E '^(FLEETLOG_|KAFKA_|DATABASE_|RUST_LOG)' | sort | sha256sum)
  if running "$name"; then
    if [[ $settings == "$(<"$STATE/run/$name.settings")" ]] && role_current "$name"; then
      return 0
    fi
    step "stopping the older $name"
    stop "$name" 30
    step_done
  fi
  step "starting $name on $FLEETLOG_LISTEN"
  printf '%s\n' "$settings" >"$STATE/run/$name.settings"
  spawn "$name" "$port" "$STATE/bin/fleetlog" "$name"
  wait_until_ready "$name" 60 role_ready "$name"
  step_done
)

# Whether a running role is the program that was built last.
role_current() {
  [[ $(stat -Lc %d:%i "/proc/$(pid_of "$1")/exe" 2>/dev/null) == $(stat -Lc %d:%i "$STATE/bin/fleetlog") ]]
}

role_ready() {
  curl --fail --silent --output /dev/null --max-time 2 "http://127.0.0.1:$(service_port "$1")/health/ready"
}

roles_stop() {
  local name
  for name in "${SERVICES[@]}"; do
    running "$name" || continue
    step "stopping $name"
    stop "$name" 30
    step_done
  done
}

service_status() {
  local name=$1 pid state outside=''
  case $name in
    kafka) outside=${OUTSIDE_KAFKA_BROKERS} ;;
    postgres) outside=${OUTSIDE_DATABASE_URL:+$(without_password "$OUTSIDE_DATABASE_URL")} ;;
  esac
  if [[ -n $outside ]]; then
    printf '%-10s from outside: %s\n' "$name" "$outside"
  elif pid=$(pid_of "$name"); then
    state=ready
    case $name in
      kafka) kafka_ready || state='not ready' ;;
      postgres) postgres_ready || state='not ready' ;;
      *) role_ready "$name" || state="not ready: $(curl --silent --max-time 2 "http://127.0.0.1:$(service_port "$name")/health/ready" || true)" ;;
    esac
    printf '%-10s %-10s 127.0.0.1:%-6s pid %-8s %5d MB\n' "$name" "$state" "$(service_port "$name")" "$pid" \
      "$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status")"
    [[ $state == ready ]]
  else
    printf '%-10s stopped\n' "$name"
    return 1
  fi
}

without_password() { sed -E 's#(//[^:/@]*):[^/@]*@#\1@#' <<<"$1"; }

sample_register() {
  step "registering the organization 'sample', with one integration per way of authenticating"
  (
    eval "$(environment)"
    PATH=$STATE/bin:$PATH "$DEVTOOLS/sample.sh" "$SAMPLE"
  )
  ln -sfn sample/sample.json "$STATE/sample.json"
  step_done
}

sample_traffic() {
  step 'sending sample traffic of 20 devices'
  fleetlog simulate --targets "$SAMPLE/sample.json" --devices 20 --rate 40 --duration 8s --seed 1
  wait_for 20 sample_projected || die 'the sample devices do not appear in fleet.devices: ./dev logs projector may say why'
  step_done
}

# Whether devices are there, and no more are coming.
sample_projected() {
  local before after
  before=$(devices_count)
  sleep 0.5
  after=$(devices_count)
  ((after > 0 && before == after))
}

devices_count() { command_psql --quiet --no-align --tuples-only --command='SELECT count(*) FROM fleet.devices'; }

what_next() {
  local organization
  organization=$(jq -r .organization_id "$SAMPLE/sample.json")
  say
  command_psql --quiet --pset=footer=off --file="$DEVTOOLS/sample.sql"
  cat <<NEXT
Now type, for example:

  source .dev/env                                    # fleetlog, \$FLEETLOG_URL, \$KAFKA_BROKERS, \$DATABASE_URL
  fleetlog device list --organization $organization --json
  fleetlog events tail                               # the log, as it grows
  ./dev psql -c 'SELECT * FROM fleet.firmware_history'

  # A delivery of your own; the secret is in the file, not on the command line:
  curl -H @.dev/sample/header -H 'content-type: application/json' \\
    -d @.dev/sample/delivery.json \\
    $(jq -r '.integrations[] | select(.scheme == "shared-secret") | .url' "$SAMPLE/sample.json")
  ./dev psql -c "SELECT * FROM fleet.devices WHERE serial = 'my-first-device'"

  ./dev status   ./dev logs ingest   ./dev test   ./dev down
NEXT
}
