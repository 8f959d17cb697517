# shellcheck shell=bash
readonly SERVICES=(ingest projector)
