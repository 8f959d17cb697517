#!/bin/sh
# Cargo calls this for each crate of ours, with the compiler first: it adds what libFuzzer is guided by.
# The same passes as cargo-fuzz's, which a stable compiler has too; dependencies stay as they are built for tests.
compiler=$1
shift
case " $* " in
  # What runs while building is linked without libFuzzer.
  *' --crate-name build_script_'* | *' --crate-type proc-macro '*) exec "$compiler" "$@" ;;
esac
exec "$compiler" "$@" -Copt-level=2 -Ccodegen-units=4 -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
