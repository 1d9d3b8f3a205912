# The public verbs; each is a few lines over scripts/. Plain `make` lists them.

help:     ## list these verbs
	@sed -n 's/^\([a-z0-9_]*\): *## */  make \1\t/p' $(MAKEFILE_LIST) | expand -t 21

demo:     ## set up, build, and transcribe recordings of real people with the embedded model
	@scripts/install
	@.venv/bin/voxtral transcribe --stats samples/digits_1.wav samples/order_1.wav

test:     ## set up, build, and run every test
	@scripts/test

lint:     ## ruff, mypy --strict, clang-format
	@scripts/lint

oracle:   ## compare with transformers (fetches torch)
	@scripts/oracle

llama:    ## compare with llama.cpp (builds it: minutes)
	@scripts/llama

evaluate: ## word error rates of the demo model on real digits and orders, clean and disturbed
	@scripts/install test lint
	@.venv/bin/python scripts/evaluate.py

bench:    ## speed, lag and memory of the embedded model, or of MODEL=file
	@scripts/install
	@.venv/bin/voxtral bench $(if $(MODEL),--model "$(MODEL)") --seconds 30

fuzz:     ## minutes of fuzzing (needs clang): all that reads what others wrote
	@scripts/fuzz

aarch64:  ## the C tests on emulated 64-bit ARM (needs Debian's cross compiler and qemu)
	@scripts/install
	@scripts/emulate aarch64

cross:    ## the core for Windows, macOS and musl, compiled and linked by Zig
	@scripts/install cross
	@scripts/cross

windows:  ## the C tests and the package's as Windows programs (needs Debian's wine)
	@scripts/install test cross
	@scripts/windows

everywhere: ## all of these machines, as far as this one can, and the README's table of them: an hour (as root, it installs)
	@scripts/everywhere

soak:     ## memory refused at every place, ThreadSanitizer, sessions that break, days of audio, fuzzing: hours
	@scripts/soak

wheel:    ## one abi3 wheel in dist/, for this machine or for TARGET=x86_64-windows-gnu, aarch64-macos, ...
	@scripts/install $(if $(TARGET),cross)
	@scripts/wheel $(TARGET)

web:      ## the core for browsers and node, into web/build
	@scripts/web

clean:    ## remove everything that was built or installed here
	rm -rf build dist web/build .venv .oracle .mypy_cache .ruff_cache .pytest_cache

.PHONY: help demo test lint oracle llama evaluate bench fuzz aarch64 cross windows everywhere soak wheel web clean
