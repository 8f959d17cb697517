# shellcheck shell=bash
# Fuzzing for as long as wanted. The short run is a part of the hermetic tests.

readonly CORPUS=$CHECKOUT/fuzz/corpus CRASHES=$CHECKOUT/fuzz/crashes

command_fuzz() {
  local target='' input='' minutes=5
  while (($#)); do
    case $1 in
      --minutes)
        minutes=${2:-}
        [[ $minutes =~ ^[1-9][0-9]{0,4}$ ]] || die '--minutes takes a number of minutes, from 1'
        shift 2
        ;;
      -*) die './dev fuzz [TARGET [FILE]] [--minutes M]' ;;
      *)
        if [[ -z $target ]]; then target=$1; else input=$1; fi
        shift
        ;;
    esac
  done
  [[ -z $target || -d $CORPUS/$target ]] || die "there is no target '$target'; there are: $(fuzz_targets | tr '\n' ' ')"
  [[ -z $input || -r $input ]] || die "there is no file '$input'"

  toolchain_ensure
  fuzz_build
  if [[ -n $input ]]; then
    say "── $target: $input"
    FLEETLOG_FUZZ_TARGET=$target "$FUZZ" "$input"
    return
  fi
  local name failed=0
  local -a names
  mapfile -t names < <(if [[ -n $target ]]; then printf '%s\n' "$target"; else fuzz_targets; fi)
  for name in "${names[@]}"; do
    fuzz_one "$name" "$minutes" || failed=1
  done
  return "$failed"
}

fuzz_targets() {
  find "$CORPUS" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort
}

fuzz_build() {
  local build=$STATE/fuzz-build.json
  step 'building the targets, so that libFuzzer sees where they go'
  # The whole workspace, so that dependencies are those of the stack tests. Ours is the only executable.
  RUSTC_WORKSPACE_WRAPPER=$DEVTOOLS/fuzz-rustc.sh \
    cargo build --locked --workspace --features fuzz/long --bin fuzz --message-format json-render-diagnostics >"$build"
  FUZZ=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$build" | tail -n 1)
  [[ -x $FUZZ ]] || die 'cargo built no fuzz binary'
  step_done
}

# What is new goes to .dev, beside the corpus that is checked in; what breaks a property goes to fuzz/crashes.
fuzz_one() {
  local name=$1 minutes=$2 found=$STATE/fuzz/$1 status=0
  mkdir -p "$found" "$CRASHES/$name"
  say "── $name, for $minutes min: executions a second, coverage (cov, ft) and corpus as it grows"
  FLEETLOG_FUZZ_TARGET=$name "$FUZZ" "$found" "$CORPUS/$name" \
    -max_total_time=$((minutes * 60)) -max_len=16384 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 -reload=0 -use_value_profile=1 -artifact_prefix="$CRASHES/$name/" || status=$?
  if ((status)); then
    say "── $name: a property does not hold. Again, with one command:"
    local file
    file=$(find "$CRASHES/$name" -type f -printf '%T@ %p\n' | sort -n | tail -n 1)
    say "     ./dev fuzz $name ${file#* }"
    say "   Once it is mended, keep it: cp ${file#* } fuzz/corpus/$name/regression-…"
  fi
  return "$status"
}
