# shellcheck shell=bash
# Make this shell (bash or zsh) ready for every stage:
#
#   source env.sh
#
# * the project's own Python environment, .venv: made and filled when it is missing or its
#   requirements changed, then first on PATH;
# * the CANN variables, where CANN is installed: in /usr/local/Ascend, in ~/Ascend, or where
#   ASCEND_TOOLKIT_HOME (or ASCEND_HOME_PATH) says.
#
# Where there is an atc, it becomes a function that calls it without .venv on PATH: the atc of CANN
# 5.0 looks for its own packages in the python3 that it finds there. Otherwise no function, no option
# and no variable of its own is left behind, and sourcing it again changes nothing.
# VOVNET_ENV_QUIET=1 leaves out the line about a missing CANN.

if [ -z "${BASH_VERSION:-}${ZSH_VERSION:-}" ]; then
    echo "env.sh: error: this shell cannot read it; use bash or zsh" >&2
    return 1
fi

# LIST ENTRY: the colon-separated list with the entry in front, and nowhere else.
_vovnet_env_prepend() {
    local list=":$1:"
    list=${list//":$2:"/:}
    list=${list#:}
    list=${list%:}
    printf '%s' "$2${list:+:$list}"
}

# FILE: read a file of CANN's; it is not written for `set -eu`.
_vovnet_env_read() {
    local flags=$- code=0
    set +eu
    # shellcheck disable=SC1090
    . "$1" || code=$?
    case $flags in *e*) set -e ;; esac
    case $flags in *u*) set -u ;; esac
    if [ "$code" -ne 0 ]; then
        echo "env.sh: $1 ended with code $code; the CANN variables may be incomplete" >&2
    fi
}

# HOME: the variables of the guide's own env.sh, for CANN 5.0.
_vovnet_env_guide_layout() {
    export install_path=$1
    PATH=$(_vovnet_env_prepend "$PATH" "$1/atc/bin")
    PATH=$(_vovnet_env_prepend "$PATH" "$1/atc/ccec_compiler/bin")
    if [ -d /usr/local/python3.7.5/bin ]; then
        PATH=$(_vovnet_env_prepend "$PATH" /usr/local/python3.7.5/bin)
    fi
    PYTHONPATH=$(_vovnet_env_prepend "${PYTHONPATH:-}" "$1/atc/python/site-packages")
    LD_LIBRARY_PATH=$(_vovnet_env_prepend "${LD_LIBRARY_PATH:-}" "$1/acllib/lib64")
    LD_LIBRARY_PATH=$(_vovnet_env_prepend "$LD_LIBRARY_PATH" "$1/atc/lib64")
    export PATH PYTHONPATH LD_LIBRARY_PATH ASCEND_OPP_PATH="$1/opp"
}

_vovnet_env_cann() {
    local given=${ASCEND_TOOLKIT_HOME:-${ASCEND_HOME_PATH:-}} home script
    if [ -n "$given" ]; then
        set -- "${given%/}"
    else
        set -- /usr/local/Ascend/ascend-toolkit/latest "${HOME:-}/Ascend/ascend-toolkit/latest"
    fi
    for home in "$@"; do
        case ":$PATH:" in
            *":$home/"*) return 0 ;; # in force already; set_env.sh would let PATH grow
        esac
        for script in "$home/set_env.sh" "${home%/*}/set_env.sh"; do
            if [ -f "$script" ]; then
                _vovnet_env_read "$script"
                return 0
            fi
        done
        if [ -d "$home/atc/bin" ]; then
            _vovnet_env_guide_layout "$home"
            return 0
        fi
    done
    if [ "${VOVNET_ENV_QUIET:-0}" != 1 ]; then
        echo "env.sh: CANN not found${given:+ in $given}: atc and the card's tools are not" \
            "available; everything else is" >&2
    fi
}

# FILE: this file.
_vovnet_env_ready() {
    local project
    case $1 in */*) project=${1%/*} ;; *) project=. ;; esac
    # The dot, because $(...) takes line breaks from the end of a name.
    project=$(CDPATH='' cd -P -- "${project:-/}" && pwd -P && echo .) || return
    project=${project%??}
    BASH_ENV='' bash "$project/cli/make_env.sh" || return
    _vovnet_env_cann
    # Last, so that it is in front: CANN may bring a Python of its own.
    PATH=$(_vovnet_env_prepend "$PATH" "$project/.venv/bin")
    export PATH VIRTUAL_ENV="$project/.venv"
    unset PYTHONHOME
    hash -r
    unset -f atc 2>/dev/null || true
    if command -v atc >/dev/null; then
        atc() (
            PATH=${PATH#"$VIRTUAL_ENV/bin:"}
            command atc "$@"
        )
    fi
}

_vovnet_env() {
    local file sourced=1 code=0
    if [ -n "${ZSH_VERSION:-}" ]; then
        # shellcheck disable=SC2296
        file=${(%):-%x}
        case ${ZSH_EVAL_CONTEXT:-} in *:file*) ;; *) sourced=0 ;; esac
    else
        file=${BASH_SOURCE[0]}
        if [ "$file" = "$0" ]; then sourced=0; fi
    fi
    if [ "$sourced" = 1 ]; then
        _vovnet_env_ready "$file" || code=$?
    else
        echo "env.sh: error: it makes the shell ready that reads it; type: source $file" >&2
        code=2
    fi
    unset -f _vovnet_env _vovnet_env_ready _vovnet_env_cann _vovnet_env_guide_layout \
        _vovnet_env_read _vovnet_env_prepend
    return "$code"
}

_vovnet_env
