# shellcheck shell=bash
# Background processes that outlive ./dev and are found again by the next one.
#
# .dev/run/NAME.pid holds "PID START PORT…": with the start time of the kernel's
# process table, a recycled pid is never mistaken for ours.

# Starts a command in a session of its own, with its output in .dev/logs/NAME.log,
# and notes the ports that it is going to hold.
spawn() {
  local name=$1 ports=$2
  shift 2
  log_rotate "$name"
  (
    without_our_descriptors
    # Not in the checkout, which the user of a database may not enter.
    cd /
    exec setsid "$@" </dev/null >"$STATE/logs/$name.log" 2>&1
  ) &
  local pid=$!
  disown "$pid"
  printf '%s %s %s\n' "$pid" "$(process_start "$pid")" "$ports" >"$STATE/run/$name.pid"
}

# A daemon that keeps our lock, or the pipe of whoever called us, would keep both waiting.
without_our_descriptors() {
  local fd
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    ((fd <= 2)) || eval "exec $fd>&-" 2>/dev/null || true
  done
}

log_rotate() {
  local log=$STATE/logs/$1.log
  [[ ! -s $log ]] || mv -f "$log" "$log.1"
}

# The pid of a process started here, or nothing and 1 when it is gone.
pid_of() {
  local pid start ports
  read -r pid start ports 2>/dev/null <"$STATE/run/$1.pid" || return 1
  [[ -n $start && $(process_start "$pid") == "$start" ]] || return 1
  printf '%s' "$pid"
}

running() { pid_of "$1" >/dev/null; }
gone() { ! running "$1"; }

# A process's start time in clock ticks since boot; nothing for one that is dead or a zombie.
process_start() {
  local stat fields
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  # The second field, the name, may hold anything: what counts comes after its last parenthesis.
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} == [ZX] ]] || printf '%s' "${fields[19]}"
}

# Asks a process to end, then makes it, after so many seconds.
stop() {
  local name=$1 seconds=$2 signal=${3:-TERM} pid
  if pid=$(pid_of "$name"); then
    kill "-$signal" "$pid" 2>/dev/null || true
    if ! wait_for "$seconds" gone "$name"; then
      say "  $name did not stop within $seconds s and was killed: .dev/logs/$name.log may say why"
      kill -KILL "$pid" 2>/dev/null || true
      wait_for 5 gone "$name" || true
    fi
  fi
  rm -f "$STATE/run/$name.pid"
}

# Waits until a check succeeds, and stops waiting when the process is gone.
wait_until_ready() {
  local name=$1 seconds=$2
  shift 2
  if wait_for "$seconds" ready_or_gone "$name" "$@" && running "$name"; then
    return 0
  fi
  local state='is still not ready'
  running "$name" || state='ended'
  printf '%s\n' "dev: the last lines of .dev/logs/$name.log:" >&2
  tail -n 20 "$STATE/logs/$name.log" >&2 || true
  stop "$name" 5
  die "$name $state after $(seconds_since "$STEP_SINCE")"
}

ready_or_gone() {
  local name=$1
  shift
  "$@" || gone "$name"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The ports a process was started on; nothing when it is gone.
ports_of() { ! running "$1" || cut -d' ' -f3- "$STATE/run/$1.pid"; }

# Refuses a port that somebody else holds, and names the variables that choose others: all that will be needed, since
# whoever holds one of ours most often holds more.
port_claim() {
  local name=$1 variable=$2 port=${!2} by=''
  ! port_is_free "$name" "$port" || return 0
  if command -v ss >/dev/null; then
    by=$(ss -Hltnp "sport = :$port" 2>/dev/null | sed -nE 's/.*users:\(\("([^"]+)",pid=([0-9]+).*/ by \1 (pid \2)/p' | head -n1)
  fi
  die "port $port is taken$by: choose others, for example  $(ports_instead)$INVOCATION"
}

# Whether nobody listens on a port but the service that it is for.
port_is_free() {
  [[ " $(ports_of "$1") " == *" $2 "* ]] || ! listening "$2"
}

# An assignment for each of our ports that is taken: of ports that are free, and none of our others.
ports_instead() {
  local variable other
  local -A used=()
  for variable in "${PORTS[@]}"; do used[${!variable}]=1; done
  for variable in "${PORTS[@]}"; do
    # Nothing of ours listens on this one but a test.
    [[ $variable != FLEETLOG_KAFKA_PROXY_PORT ]] || continue
    ! port_is_free "$(service_of "$variable")" "${!variable}" || continue
    other=$((${!variable} + 1))
    while [[ -n ${used[$other]:-} ]] || listening "$other"; do other=$((other + 1)); done
    used[$other]=1
    printf '%s=%s ' "$variable" "$other"
  done
}

# The service that listens on a port.
service_of() {
  case $1 in
    FLEETLOG_PORT) printf ingest ;;
    FLEETLOG_PROJECTOR_PORT) printf projector ;;
    FLEETLOG_POSTGRES_PORT) printf postgres ;;
    *) printf kafka ;;
  esac
}

port_unused() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    listening "$port" || {
      printf '%s' "$port"
      return 0
    }
  done
  die 'found no free port between 20000 and 32000'
}
