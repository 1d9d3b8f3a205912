#!/bin/sh
# The fuzz targets, each with the inputs that were kept, into $OUT: what OSS-Fuzz calls, and scripts/fuzz as well. From
# outside come CC, CXX, CFLAGS, CXXFLAGS (sanitizers and coverage) and LIB_FUZZING_ENGINE; VOXTRAL_GGML_DIR may name
# ggml's source, which pip fetches otherwise.
set -eu
cd "$(dirname "$0")/../../.."
[ -e csrc/voxtral.h ] || cd "$SRC/voxtral-edge" # this file was copied
work=${WORK:-$OUT/build}
here=$PWD/tests/fuzz/oss-fuzz
CFLAGS="$CFLAGS -fsanitize-ignorelist=$here/ignored.txt"
case $CFLAGS in *fuzzer-no-link*) CFLAGS="$CFLAGS -fsanitize-coverage-ignorelist=$here/uncovered.txt" ;; esac
export CFLAGS
cmake -S csrc -B "$work" -G Ninja -DVOXTRAL_TESTS=ON -DCMAKE_BUILD_TYPE=None -DVOXTRAL_FUZZ="$LIB_FUZZING_ENGINE" \
    ${VOXTRAL_GGML_DIR:+-DVOXTRAL_GGML_DIR="$VOXTRAL_GGML_DIR"}
cmake --build "$work" --target fuzz_targets
cp "$work/tests/fuzz.gguf" "$OUT"
for target in gguf text state stream model; do
    cp "$work/tests/fuzz_$target" "$OUT"
    python3 -m zipfile -c "$OUT/fuzz_${target}_seed_corpus.zip" "tests/fuzz/$target"/*
done
