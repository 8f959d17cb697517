# shellcheck shell=bash
# Chaos, on a Kafka and a PostgreSQL of its own: it kills, freezes and crashes them.

command_chaos() {
  # Nobody else's servers, whatever the environment says.
  OUTSIDE_DATABASE_URL='' OUTSIDE_KAFKA_BROKERS=''
  urls_derive
  case ${1:-} in
    # Chaos itself says this after it has killed one of them.
    up) chaos_up ;;
    down) chaos_down ;;
    reset)
      chaos_down
      postgres_forget
      rm -rf "$STATE"
      ;;
    *) chaos_run "$@" ;;
  esac
}

chaos_up() {
  alone
  packages_ensure
  chaos_ports
  settings_remember
  urls_derive
  stack_start
}

chaos_down() {
  alone
  kafka_stop
  postgres_stop
}

chaos_run() {
  # One run at a time: another would miss the servers that this one kills.
  exec 8>"$STATE/run/runs"
  flock --nonblock 8 || die 'chaos runs already in this checkout'
  toolchain_ensure
  local folder=debug
  local -a profile=()
  if [[ ${FLEETLOG_RELEASE:-} == 1 ]]; then
    folder=release
    profile=(--release)
  fi
  cargo build --locked --workspace --bin fleetlog --bin chaos "${profile[@]}" 8>&-
  trap chaos_end EXIT
  chaos_up
  exec 9>&-
  eval "$(stack_env)"
  export FLEETLOG_CHAOS_STATE=$STATE FLEETLOG_CHAOS_DEV=$CHECKOUT/dev
  "$(target_folder)/$folder/chaos" "$@" 8>&-
}

chaos_end() {
  step_broken
  chaos_down >>"$STATE/logs/dev.log"
}

# Ports that nobody else would choose; the same for as long as the servers are kept.
chaos_ports() {
  [[ ! -s $STATE/settings ]] || return 0
  local port
  for port in "${PORTS[@]}"; do
    [[ -n ${CHOSEN[$port]:-} ]] || printf -v "$port" '%s' "$(port_unused)"
  done
  ports_differ
}
