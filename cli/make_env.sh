#!/usr/bin/env bash
# Make and fill the project's own Python environment, .venv, or leave it where it is up to date.
#
#   cli/make_env.sh [REQUIREMENTS]    default: requirements.txt
#
# env.sh calls it; tests/run.sh calls it once more, with tests/requirements.txt.
# .venv/*.stamp holds what was installed, word for word, and is written last. While the environment
# is being made or filled, .venv/incomplete lies there: whatever broke off is made anew, not trusted.
set -euo pipefail

readonly oldest=11 newest=14 # Python 3.x: numpy and onnxruntime, as pinned, have wheels for these

project=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
requirements=${1:-requirements.txt}
venv=$project/.venv
python=$venv/bin/python
name=${requirements%.txt}
stamp=$venv/${name//\//-}.stamp
log=$venv/${name//\//-}.log

say() { printf 'env.sh: %s\n' "$1" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# What is to be installed: the requirements, less what has no wheel on this machine.
wanted() {
    if lacks_openvino; then
        grep -v '^openvino' -- "$project/$requirements" || true
    else
        cat -- "$project/$requirements"
    fi
}

# OpenVINO's wheels for aarch64 ask for glibc 2.35.
lacks_openvino() {
    local libc
    [[ $(uname -m) == aarch64 ]] || return 1
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || return 1
    [[ $libc =~ ^glibc\ 2\.([0-9]+) ]] && ((BASH_REMATCH[1] < 35))
}

interpreter_version() { # PYTHON: its "3.N", or nothing where it is no Python 3 that runs
    "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

stamp_text() { # what the stamp must say for the environment to be up to date
    printf '# Python %s, %s\n' "$(interpreter_version "$python")" "$(uname -m)"
    wanted
}

up_to_date() {
    [[ -f $stamp && ! -e $venv/incomplete && -x $python ]] || return 1
    [[ $(<"$stamp") == "$(stamp_text)" ]]
}

find_python() {
    local candidate version
    # The environment itself must not be what makes it.
    PATH=:$PATH: && PATH=${PATH//":$venv/bin:"/:} && PATH=${PATH#:} && PATH=${PATH%:}
    for candidate in python3 python3.{11..14}; do
        version=$(interpreter_version "$candidate")
        if [[ $version == 3.* ]] && ((${version#3.} >= oldest && ${version#3.} <= newest)); then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "no Python from 3.$oldest to 3.$newest on PATH; install one (Debian, Ubuntu:" \
        "apt install python3 python3-venv)"
}

last_error() { # the line of the log that says most
    grep -iE '^(error|fatal|.*no space left)' -- "$log" | tail -n 1 || tail -n 1 -- "$log"
}

make_environment() {
    local base version
    base=$(find_python)
    version=$(interpreter_version "$base")
    say "making .venv with Python $version"
    mkdir -p -- "$venv"
    : >"$venv/incomplete"
    # --clear would take the lock, the log and the mark away with the rest.
    rm -rf -- "${venv:?}"/{bin,include,lib,lib64,share} "$venv"/*.stamp
    if ! "$base" -I -m venv -- "$venv" >"$log" 2>&1; then
        fail "$base cannot make an environment: see $log (Debian, Ubuntu: apt install python3-venv)"
    fi
}

fill_environment() {
    local started=$SECONDS
    say "filling .venv from $requirements (the first time: some minutes, 5 GB; log: $log)"
    if lacks_openvino; then
        say "OpenVINO is left out: its wheel for aarch64 needs glibc 2.35; ONNX Runtime is there"
    fi
    : >"$venv/incomplete"
    wanted >"$venv/wanted.txt"
    local command=("$python" -I -m pip install --no-input --progress-bar off
        --requirement "$venv/wanted.txt")
    if [[ $requirements != requirements.txt ]]; then # what is there stays at its version
        command+=(--constraint "$project/requirements.txt")
    fi
    # A pip.conf with user = true would install beside the environment, not into it.
    if ! PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "${command[@]}" >"$log" 2>&1; then
        # pip fetches everything before it touches anything.
        grep -q '^Installing collected packages' -- "$log" || rm -f -- "$venv/incomplete"
        fail "could not install $requirements: $(last_error) (log: $log)"
    fi
    stamp_text >"$stamp.partial"
    mv -f -- "$stamp.partial" "$stamp"
    rm -f -- "$venv/incomplete"
    say "$requirements installed in $((SECONDS - started)) s"
}

main() {
    if [[ $project == *:* ]]; then
        fail "$project has a ':' in its name, which PATH cannot hold; rename the folder"
    fi
    if up_to_date; then
        return
    fi
    mkdir -p -- "$venv" 2>/dev/null || fail "cannot write to $project; check the permissions"
    if command -v flock >/dev/null; then # two shells that start at once: one fills, one waits
        exec 9>"$venv/lock"
        flock -n 9 || { say "another shell is making .venv; waiting for it" && flock 9; }
        if up_to_date; then
            return
        fi
    fi
    # Without a mark and with a Python that runs, a user made .venv: it is filled, not replaced.
    local version
    version=$(interpreter_version "$python")
    if [[ -e $venv/incomplete || -z $version ]] || stamp_of_other_python "$version"; then
        make_environment
    elif ((${version#3.} < oldest || ${version#3.} > newest)); then
        fail "$venv has Python $version, needed is 3.$oldest to 3.$newest; remove that folder"
    fi
    fill_environment
}

stamp_of_other_python() { # VERSION
    [[ -f $venv/requirements.stamp ]] && ! grep -q "^# Python $1," -- "$venv/requirements.stamp"
}

main
