#!/usr/bin/env bash
# Everything that is checked: lint, format, types, shell scripts, tests. One command, any folder:
#
#   tests/run.sh [PYTEST ARGUMENT ...]
#
# It sets up what it needs. Every step runs, whatever the one before said; the exit code is 1 where
# one of them failed. pytest comes last, so that its summary is the last line.
set -euo pipefail

CDPATH='' cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.."

number=0
failed=()

step() { # TITLE COMMAND [ARGUMENT ...]
    local title=$1
    shift
    number=$((number + 1))
    printf '\n[%s/6] %s\n' "$number" "$title"
    if ((${#failed[@]})) && [[ $title == pytest ]]; then
        printf 'failed before: %s\n' "${failed[*]}"
    fi
    "$@" || failed+=("$title")
}

set_up() {
    # shellcheck disable=SC2034 # env.sh reads it
    local VOVNET_ENV_QUIET=1
    # shellcheck source=env.sh
    source ./env.sh && bash cli/make_env.sh tests/requirements.txt && get_browser
}

# The report is clicked through in Debian's chromium. Where it cannot be had, those tests are skipped.
get_browser() {
    if command -v chromium >/dev/null || [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        return 0
    fi
    echo 'installing chromium'
    {
        apt-get --quiet update &&
            DEBIAN_FRONTEND=noninteractive \
                apt-get --quiet --yes --no-install-recommends install chromium
    } >.venv/chromium.log 2>&1 || echo 'no chromium, see .venv/chromium.log: some tests are skipped'
}

check_scripts() {
    local file files=(.ci/run)
    while IFS= read -r -d '' file; do
        files+=("$file")
    done < <(find . -name '.?*' -prune -o -path ./work -prune -o -name '*.sh' -print0)
    shellcheck --external-sources "${files[@]}" && echo "${#files[@]} scripts are clean"
}

step environment set_up
if ((${#failed[@]})); then
    exit 1
fi
step 'ruff check' python3 -m ruff check .
step 'ruff format' python3 -m ruff format --check .
step mypy python3 -m mypy
step shellcheck check_scripts
# Half of the time goes into waiting for processes and disks: two at a time, each file in one.
step pytest python3 -m pytest --numprocesses=2 --dist=loadfile "$@"
((${#failed[@]} == 0))
