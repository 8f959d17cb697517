#!/bin/sh
# Makes topics, tables and roles. Running it again changes nothing.
set -eu

password() { cat "/run/fleetlog/$1"; }

FLEETLOG_OPERATOR_PASSWORD=$(password operator)
FLEETLOG_API_PASSWORD=$(password api)
FLEETLOG_PROJECTOR_PASSWORD=$(password projector)
FLEETLOG_INGEST_PASSWORD=$(password ingest)
export FLEETLOG_OPERATOR_PASSWORD FLEETLOG_API_PASSWORD FLEETLOG_PROJECTOR_PASSWORD FLEETLOG_INGEST_PASSWORD

fleetlog topics create --partitions 12 --single-broker
fleetlog migrate
