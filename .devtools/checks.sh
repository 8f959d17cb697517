# shellcheck shell=bash
# What must hold before a change is shared, in order of speed.

readonly PARTS=(format clippy docs hermetic stack)

command_test() {
  local -a parts=()
  while (($#)) && [[ $1 != -- ]]; do
    [[ " ${PARTS[*]} " == *" $1 "* ]] || die "there is no part '$1': ${PARTS[*]}, then -- and arguments of cargo test"
    parts+=("$1")
    shift
  done
  ((${#parts[@]})) || parts=("${PARTS[@]}")
  [[ ${1:-} != -- ]] || shift

  # As if nobody had sourced .dev/env: the hermetic tests know of no services.
  local name
  for name in $(compgen -e); do
    [[ ! $name =~ ^(FLEETLOG_|DATABASE_URL$|KAFKA_BROKERS$) ]] || declare -gx +x "$name"
  done

  packages_ensure
  toolchain_ensure
  local part
  for part in "${parts[@]}"; do
    say "── $part"
    "check_$part" "$@"
  done
}

toolchain_ensure() {
  command -v cargo >/dev/null || die 'a Rust toolchain is needed: https://rustup.rs'
  { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1 ||
    die 'please type:  rustup component add rustfmt clippy'
}

check_format() { cargo fmt --all --check; }

# `-D warnings` as an argument: in RUSTFLAGS it would build everything a second time.
check_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

check_docs() {
  RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked
}

check_hermetic() { cargo test --locked "$@"; }

# Last, so that the runner's own closing lines are ours too.
check_stack() {
  stack_borrow
  eval "$(stack_env)"
  # The roles are tested as they run in production: as processes. Both lines select the
  # whole workspace, so that one build of the dependencies serves them, clippy and ./dev up.
  cargo build --locked --workspace --bin fleetlog
  cargo test --locked --workspace --test it --bin chaos "$@" 8>&-
}

command_bench() {
  packages_ensure
  stack_borrow
  eval "$(stack_env)"
  cargo build --locked --release --workspace --bin fleetlog --bin bench
  "$(target_folder)/release/bench" "$@" 8>&-
}

# Uses the stack that runs, or starts what is missing and stops that again at the
# end. Several may borrow at once: the last one to leave turns off the lights.
stack_borrow() {
  exec 8>"$STATE/run/borrowers"
  flock --shared 8
  alone
  trap stack_return EXIT
  # Another borrower may have started them while we waited.
  adopt_ports postgres FLEETLOG_POSTGRES_PORT
  adopt_ports kafka FLEETLOG_KAFKA_PORT FLEETLOG_KAFKA_CONTROLLER_PORT FLEETLOG_KAFKA_PROXIED_PORT
  running postgres || ports_elsewhere postgres FLEETLOG_POSTGRES_PORT
  running kafka ||
    ports_elsewhere kafka FLEETLOG_KAFKA_PORT FLEETLOG_KAFKA_CONTROLLER_PORT FLEETLOG_KAFKA_PROXIED_PORT FLEETLOG_KAFKA_PROXY_PORT
  stack_ports
  urls_derive
  stack_start
  exec 9>&-
}

# Notes what is about to be started, and avoids the ports of others:
# nobody needs to know where the tests' own services listen.
ports_elsewhere() {
  local name=$1 port
  shift
  printf '%s\n' "$name" >>"$STATE/run/borrowed"
  for port in "$@"; do
    if [[ -z ${CHOSEN[$port]:-} ]] && listening "${!port}"; then
      printf -v "$port" '%s' "$(port_unused)"
    fi
  done
}

stack_return() {
  step_broken
  flock --unlock 8
  flock --nonblock 8 || return 0
  exec 9>"$STATE/run/lock"
  flock 9
  local name
  for name in $(cat "$STATE/run/borrowed" 2>/dev/null); do
    "${name}_stop" >>"$STATE/logs/dev.log"
  done
  rm -f "$STATE/run/borrowed"
}

command_lint() {
  local failed=0
  lint_with shellcheck shellcheck --external-sources dev .devtools/sample.sh .devtools/fuzz-rustc.sh .devtools/docker/*.sh .ci/run || failed=1
  lint_with cargo-deny cargo deny --locked check || failed=1
  lint_with cargo-machete cargo machete || failed=1
  lint_with promtool promtool check rules docs/alerts.yml || failed=1
  lint_with promtool promtool test rules docs/alerts_test.yml || failed=1
  return "$failed"
}

lint_with() {
  local program=$1
  shift
  if command -v "$program" >/dev/null; then
    say "── $*"
    "$@"
  else
    say "── $program is not installed: skipped"
  fi
}
