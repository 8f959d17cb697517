# shellcheck shell=bash
# Debian packages: only what is missing, and only when this user may install.

# Everything that building and running need, as packages, where it is not there already.
packages_needed() {
  local -a missing=()
  # librdkafka is built from its bundled source, C and C++.
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  command -v c++ >/dev/null || missing+=(g++)
  command -v make >/dev/null || missing+=(make)
  command -v curl >/dev/null || missing+=(curl ca-certificates)
  command -v jq >/dev/null || missing+=(jq)
  command -v psql >/dev/null || missing+=(postgresql-client)
  if [[ -z $OUTSIDE_KAFKA_BROKERS ]]; then
    java_find >/dev/null || missing+=(default-jre-headless)
    [[ -e $KAFKA_LIBS ]] || command -v mvn >/dev/null || missing+=(maven)
  fi
  if [[ -z $OUTSIDE_DATABASE_URL ]]; then
    postgres_bin >/dev/null || missing+=(postgresql)
  fi
  printf '%s\n' "${missing[@]}"
}

packages_ensure() {
  local -a missing=()
  mapfile -t missing < <(packages_needed | sed '/^$/d')
  ((${#missing[@]})) || return 0

  local -a as_root=()
  ((EUID == 0)) || as_root=(sudo -n)
  if ! command -v apt-get >/dev/null; then
    die "please install what Debian calls: ${missing[*]}"
  elif ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
    die "packages are missing, and installing them needs an administrator. Please type:  $(install_by_hand "${missing[@]}")"
  fi

  step "installing ${missing[*]}"
  local postgres_alone=''
  [[ " ${missing[*]} " != *' postgresql '* ]] || postgres_alone=yes
  {
    [[ -z $postgres_alone ]] || system_cluster_off "${as_root[@]}"
    "${as_root[@]}" apt-get update --quiet
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
  } >"$STATE/logs/packages.log" 2>&1 || {
    tail -n 20 "$STATE/logs/packages.log" >&2
    [[ -z $postgres_alone ]] || system_cluster_default "${as_root[@]}"
    die 'apt-get failed: the whole of what it said is in .dev/logs/packages.log'
  }
  [[ -z $postgres_alone ]] || system_cluster_default "${as_root[@]}"
  hash -r
  step_done
}

install_by_hand() {
  local command="apt-get install --yes --no-install-recommends $*"
  if [[ " $* " == *' postgresql '* ]]; then
    printf "sudo sh -c 'mkdir -p %s && echo create_main_cluster = false >%s && %s'" "${CLUSTER_CONFIG%/*}" "$CLUSTER_CONFIG" "$command"
  else
    printf 'sudo %s' "$command"
  fi
}

# Debian makes and starts a system-wide database cluster with the package: we bring our own.
readonly CLUSTER_CONFIG=/etc/postgresql-common/createcluster.d/fleetlog-dev.conf

system_cluster_off() {
  "$@" mkdir -p "${CLUSTER_CONFIG%/*}"
  printf 'create_main_cluster = false\n' | "$@" tee "$CLUSTER_CONFIG" >/dev/null
}

system_cluster_default() { "$@" rm -f "$CLUSTER_CONFIG"; }
