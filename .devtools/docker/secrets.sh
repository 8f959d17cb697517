#!/bin/sh
# Makes, once, the secrets that `docker compose up` needs, in a volume of their own:
# the key that seals credentials, and a password per role of the database.
# Each role's container finds its own password through PGPASSFILE.
set -eu
umask 077
cd /run/fleetlog

random() { od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

[ -s sealing.key ] || { random 32 >sealing.key.new && mv sealing.key.new sealing.key; }
chown fleetlog sealing.key

for role in owner operator api projector ingest; do
  [ -s "$role" ] || { random 24 >"$role.new" && mv "$role.new" "$role"; }
  case $role in
    owner) user=fleetlog ;;
    *) user=fleetlog_$role ;;
  esac
  printf 'postgres:5432:*:%s:%s\n' "$user" "$(cat "$role")" >"$role.pgpass"
  chown fleetlog "$role" "$role.pgpass"
done

# The server reads the owner's password at its first start, as a user of another image:
# for that it gets a copy in a volume that only it mounts.
install -m 444 owner /run/postgres/password
chmod 711 /run/fleetlog
