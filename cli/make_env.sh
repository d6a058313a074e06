#!/usr/bin/env bash
# Make and fill the project's own Python environment, .venv, or leave it where it is up to date.
#
#   cli/make_env.sh [REQUIREMENTS]    default: requirements.txt
#
# env.sh calls it; tests/run.sh calls it once more, with tests/requirements.txt.
# .venv/*.stamp holds what was installed, word for word, and is written last. While the environment
# is being made or filled, .venv/incomplete lies there: whatever broke off is made anew, not trusted.
# .venv/made-here says that what lies there was made here and may be removed to be made anew.
set -euo pipefail

readonly oldest=11 newest=14 # Python 3.x: numpy and onnxruntime, as pinned, have wheels for these

unset CDPATH
# The dot, because $(...) takes line breaks from the end of a name.
project=$(cd -P -- "${BASH_SOURCE[0]%/*}/.." && pwd -P && echo .)
project=${project%$'\n'.}
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
    local version
    version=$("$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || true
    [[ ! $version =~ ^[0-9]{1,3}\.[0-9]{1,3}$ ]] || printf %s "$version"
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

last_error() { # the line of the log that says most, and what to do
    if [[ ! -s $log ]] || grep -qiE 'no space left|quota exceeded' -- "$log"; then
        printf 'no space left on the disk of .venv; free some (the whole of it takes 5 GB)'
    elif unreachable; then
        printf 'the packages cannot be fetched, as the network or the index does not answer; '
        printf 'try again, or name a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER'
    else
        grep -iE '^(error|fatal)' -- "$log" | tail -n 1 || tail -n 1 -- "$log"
    fi
}

unreachable() { # pip takes an index that does not answer for one that has nothing
    if grep -q 'connection broken by' -- "$log" && grep -q 'from versions: none' -- "$log"; then
        return
    fi
    grep -qE '^ERROR: .*(ConnectionPool|ConnectionError|Timeout|SSLError|ProxyError)' -- "$log"
}

make_environment() {
    local base version
    base=$(find_python)
    version=$(interpreter_version "$base")
    say "making .venv with Python $version"
    # --clear would take the lock, the log and the marks away with the rest.
    mark made-here
    mark incomplete
    mark "${log##*/}"
    rm -rf -- "${venv:?}"/{bin,include,lib,lib64,share} "$venv"/*.stamp
    if ! "$base" -I -m venv -- "$venv" >"$log" 2>&1; then
        fail "$base cannot make an environment: see $log (Debian, Ubuntu: apt install python3-venv)"
    fi
}

mark() { # NAME
    { : >"$venv/$1"; } 2>/dev/null || cannot_write
}

cannot_write() { fail "cannot write to $venv; check the permissions and the free space"; }

fill_environment() {
    local started=$SECONDS
    say "filling .venv from $requirements (the first time: some minutes, 5 GB; log: $log)"
    if lacks_openvino; then
        say "OpenVINO is left out: its wheel for aarch64 needs glibc 2.35; ONNX Runtime is there"
    fi
    local again=()
    # One that was not made here is not removed: what may be broken in it is put there once more.
    [[ ! -e $venv/incomplete || -e $venv/made-here ]] || again=(--force-reinstall)
    mark incomplete
    mark wanted.txt
    mark "${log##*/}"
    wanted >"$venv/wanted.txt" || cannot_write
    local command=("$python" -I -m pip install --no-input --progress-bar off
        --requirement "$venv/wanted.txt" ${again[@]+"${again[@]}"})
    if [[ $requirements != requirements.txt ]]; then # what is there stays at its version
        command+=(--constraint "$project/requirements.txt")
    fi
    # A pip.conf with user = true would install beside the environment, not into it.
    if ! PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "${command[@]}" >"$log" 2>&1; then
        # pip fetches everything before it touches anything.
        grep -q '^Installing collected packages' -- "$log" || ((${#again[@]})) ||
            rm -f -- "$venv/incomplete"
        fail "could not install $requirements: $(last_error) (log: $log)"
    fi
    mark "${stamp##*/}.partial"
    stamp_text >"$stamp.partial" || cannot_write
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
    # Whoever was at work has ended by then.
    trap 'say "error: interrupted; the next call puts it right"; exit 130' INT
    mkdir -p -- "$venv" 2>/dev/null || fail "cannot write to $project; check the permissions"
    take_lock
    if up_to_date; then
        return
    fi
    local version
    version=$(interpreter_version "$python")
    if [[ -z $version ]] || { [[ -e $venv/made-here ]] && is_unfit "$version"; }; then
        [[ -e $venv/made-here ]] || is_empty ||
            fail "$venv was not made here, and no Python runs in it; move it somewhere else"
        make_environment
    elif ((${version#3.} < oldest || ${version#3.} > newest)); then
        fail "$venv has Python $version, needed is 3.$oldest to 3.$newest; remove that folder"
    fi
    fill_environment
}

take_lock() { # two shells that start at once: one fills, one waits
    local base code=0 waiting='another shell is making .venv; waiting for it'
    # Not >, which would empty a file that somebody else has put there.
    { exec 9>>"$venv/lock"; } 2>/dev/null || cannot_write
    if command -v flock >/dev/null; then
        flock -n 9 || code=$? # 1: held; else this file system knows no locks
        ((code != 1)) || { say "$waiting" && flock 9; }
        return
    fi
    base=$python
    [[ -n $(interpreter_version "$base") ]] || base=$(find_python)
    "$base" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null ||
        { say "$waiting" && "$base" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; }
}

is_unfit() { # VERSION
    [[ -e $venv/incomplete ]] || stamp_of_other_python "$1"
}

is_empty() { # nothing is there that making it would remove
    local name
    for name in bin include lib lib64 share; do
        [[ ! -e $venv/$name && ! -L $venv/$name ]] || return 1
    done
}

stamp_of_other_python() { # VERSION
    [[ -f $venv/requirements.stamp ]] && ! grep -q "^# Python $1," -- "$venv/requirements.stamp"
}

main
