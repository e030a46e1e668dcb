#!/bin/sh
# Compiles the shop into the build context of its image.
set -eu
cd "$(dirname "$0")"
exec "${RUSTC:-rustc}" --edition 2021 -O -C target-feature=+crt-static -C strip=symbols -C panic=abort \
    -o backend/shop shop.rs
