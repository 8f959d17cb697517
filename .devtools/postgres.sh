# shellcheck shell=bash
# One PostgreSQL server, private to this checkout: 127.0.0.1 only, passwords for everybody.
#
# PostgreSQL refuses to run as root. For root it runs as Debian's user `postgres`,
# which must be able to reach its data; where it cannot, the data lies in /var/tmp.

# The newest server installed, or the one that our data was made with.
postgres_bin() {
  local version bin
  version=$(as_postgres cat "$(postgres_data)/PG_VERSION" 2>/dev/null || echo '*')
  # shellcheck disable=SC2086 # the version may be the pattern *
  bin=$(printf '%s\n' /usr/lib/postgresql/$version/bin | sort -V | tail -n1)
  [[ -x $bin/initdb && -x $bin/pg_ctl ]] || return 1
  printf '%s' "$bin"
}

# Runs a command as whom PostgreSQL accepts. `setpriv` replaces itself by the command: no process in between.
readonly AS_POSTGRES=(setpriv --reuid=postgres --regid=postgres --init-groups --reset-env --)
as_postgres() (
  cd /
  if ((EUID == 0)); then
    exec "${AS_POSTGRES[@]}" "$@"
  else
    exec "$@"
  fi
)

postgres_data() {
  if ((EUID != 0)) || as_postgres test -x "$STATE" 2>/dev/null; then
    printf '%s' "$STATE/postgres"
  else
    printf '/var/tmp/fleetlog-%s/postgres' "$(printf '%s' "${STATE%/.dev}" | sha256sum | cut -c1-12)"
  fi
}

postgres_init() {
  local data
  data=$(postgres_data)
  ! as_postgres test -s "$data/PG_VERSION" || return 0
  step 'making a database cluster'
  if ((EUID == 0)); then
    [[ $data == "$STATE"/* ]] || say "  user postgres cannot enter $STATE: its data goes to $data"
    install -d -m 711 "${data%/*}"
    [[ -O ${data%/*} ]] || die "${data%/*} belongs to somebody else"
    install -d -m 700 -o postgres -g postgres "$data"
  fi
  secret superuser | write_private "$data.password"
  ((EUID != 0)) || chown postgres "$data.password"
  as_postgres "$(postgres_bin)/initdb" --pgdata="$data" --username=postgres \
    --pwfile="$data.password" --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 \
    >"$STATE/logs/initdb.log" 2>&1 || {
    tail -n 20 "$STATE/logs/initdb.log" >&2
    die 'initdb failed: the whole of what it said is in .dev/logs/initdb.log'
  }
  rm -f "$data.password"
  step_done
}

# No socket file: a checkout's path may be longer than a socket's may be.
readonly POSTGRES_OPTIONS=(
  -c listen_addresses=127.0.0.1 -c unix_socket_directories=
  -c max_connections=200 -c shared_buffers=256MB -c max_wal_size=4GB
  -c timezone=UTC -c log_timezone=UTC -c 'log_line_prefix=%m [%p] %q%u@%d '
)

postgres_start() {
  [[ -z $OUTSIDE_DATABASE_URL ]] || return 0
  if running postgres; then
    if [[ $(ports_of postgres) == "$FLEETLOG_POSTGRES_PORT" ]]; then
      postgres_owner
      return 0
    fi
    postgres_stop
  fi
  postgres_init
  postgres_unlock
  step "starting PostgreSQL on 127.0.0.1:$FLEETLOG_POSTGRES_PORT"
  local -a command=("$(postgres_bin)/postgres" -D "$(postgres_data)" -p "$FLEETLOG_POSTGRES_PORT" "${POSTGRES_OPTIONS[@]}")
  ((EUID != 0)) || command=("${AS_POSTGRES[@]}" "${command[@]}")
  spawn postgres "$FLEETLOG_POSTGRES_PORT" "${command[@]}"
  wait_until_ready postgres 60 postgres_ready
  postgres_owner
  step_done
}

# A server that was killed leaves its lock behind. PostgreSQL takes it over, unless
# the old pid still shows as a zombie, as it may in a container whose init is lazy.
postgres_unlock() {
  local lock pid
  lock=$(postgres_data)/postmaster.pid
  pid=$(as_postgres head -n1 "$lock" 2>/dev/null) || return 0
  [[ -n $(process_start "$pid") ]] || as_postgres rm -f "$lock"
}

postgres_ready() {
  pg_isready --quiet --host=127.0.0.1 --port="$FLEETLOG_POSTGRES_PORT"
}

# The database and its owner: as in production, not a superuser.
postgres_owner() {
  psql_at "$SUPERUSER_DATABASE_URL" --quiet --set=ON_ERROR_STOP=1 <<SQL
\\set password $(secret owner)
SELECT 'CREATE ROLE fleetlog' WHERE to_regrole('fleetlog') IS NULL \\gexec
ALTER ROLE fleetlog LOGIN CREATEROLE PASSWORD :'password';
SELECT 'CREATE DATABASE fleetlog OWNER fleetlog'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'fleetlog') \\gexec
-- Tests may have made the roles of fleetlog before its owner does. From PostgreSQL 16 on,
-- whoever changes a role needs to be told so.
SELECT format('GRANT %I TO fleetlog WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', rolname)
  FROM pg_roles
 WHERE starts_with(rolname, 'fleetlog_') AND current_setting('server_version_num')::int >= 160000 \\gexec
SQL
}

postgres_stop() {
  running postgres || return 0
  step 'stopping PostgreSQL'
  # SIGINT is the fast shutdown: SIGTERM would wait for every client to leave.
  stop postgres 30 INT
  step_done
}

# psql at a URL whose password does not show in the list of processes.
psql_at() {
  local url=$1 credentials
  shift
  if [[ $url =~ ^([a-z]+://)([^/@]*)@(.*)$ && ${BASH_REMATCH[2]} == *:* ]]; then
    credentials=${BASH_REMATCH[2]}
    url=${BASH_REMATCH[1]}${credentials%%:*}@${BASH_REMATCH[3]}
    credentials=${credentials#*:}
    PGPASSWORD=$(printf '%b' "${credentials//%/\\x}") psql --no-psqlrc --dbname="$url" "$@"
  else
    psql --no-psqlrc --dbname="$url" "$@"
  fi
}

postgres_forget() {
  local data
  data=$(postgres_data)
  rm -rf "$data"
  [[ $data == "$STATE"/* ]] || rmdir "${data%/*}" 2>/dev/null || true
}
