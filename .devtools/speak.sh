# shellcheck shell=bash
# Saying what happens, how long it took, and why it stopped.

STEP=''
STEP_SINCE=0

say() { printf '%s\n' "$*"; }

# Ends everything with a reason a reader can act upon.
die() {
  STEP=''
  printf 'dev: %s\n' "$*" >&2
  exit 1
}

# Announces something that may take long; `step_done` says how long it took.
step() {
  STEP=$1
  STEP_SINCE=$EPOCHREALTIME
  printf '▸ %s …\n' "$STEP"
}

step_done() {
  printf '  %s\n' "$(seconds_since "$STEP_SINCE")"
  STEP=''
}

# Names the step that a failed command interrupted; the command itself has said why.
step_broken() {
  [[ -z $STEP ]] || printf 'dev: stopped while doing this: %s\n' "$STEP" >&2
}

# Seconds since an $EPOCHREALTIME, with one decimal. Its decimal mark follows the locale, hence the stripping.
seconds_since() {
  local tenths=$(((${EPOCHREALTIME//[^0-9]/} - ${1//[^0-9]/}) / 100000))
  printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

# Repeats a command until it succeeds: 0, or 1 when the seconds are over.
wait_for() {
  local seconds=$1
  shift
  local until=$((SECONDS + seconds))
  until "$@"; do
    ((SECONDS < until)) || return 1
    sleep 0.1
  done
}
