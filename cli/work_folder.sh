# shellcheck shell=bash
# shellcheck disable=SC2154 # run_all.sh, which reads this file, has set the variables
# The folder that run_all.sh works in: entered, held for one run at a time, and kept from being
# taken for a place of programs.

readonly lock=.run_all.lock # in the work folder

# shellcheck disable=SC2034 # in_package is read by the stages
enter_work_dir() {
    from_here work_dir
    if [[ $dry_run == no ]]; then
        { mkdir -p -- "$work_dir" && cd -P -- "$work_dir"; } 2>/dev/null ||
            fail 1 "--work-dir: cannot make or enter $work_dir"
        work_dir=$PWD
    elif [[ -d $work_dir ]]; then
        work_dir=$(cd -P -- "$work_dir" && pwd -P && echo .)
        work_dir=${work_dir%$'\n'.}
    else
        tell "mkdir -p $(quoted "$work_dir")"
    fi
    in_package=(env "PYTHONPATH=$project" python3 -P -m pipeline)
    if [[ $work_dir == "$project" ]]; then
        in_package=(python3 -m pipeline)
    fi
    local name
    for name in weights images labels; do
        from_work "$name"
    done
}

say_work_dir() {
    local env_sh=$project/env.sh
    from_work env_sh
    tell "cd $(quoted "$work_dir")"
    tell "source $(quoted "$env_sh")"
}

# One run at a time in a work folder. The kernel holds the lock for this shell and for every stage
# that it starts, until the last of them has ended, however that comes about.
hold_work_dir() {
    local code=0 process said
    stage_runs=no
    # Who cannot write here makes nothing here; a stage that has to says so.
    [[ -w . ]] || return 0
    while true; do
        if [[ -L $lock || (-e $lock && ! -f $lock) ]]; then
            fail 1 "$work_dir/$lock is no lock; move it, or give another --work-dir"
        fi
        { exec 8<>"$lock"; } 2>/dev/null ||
            fail 1 "cannot write $work_dir/$lock; check the permissions and the free space"
        code=0
        said=$(python3 -I "$project/cli/work_lock.py" "$lock" 8 "$$") || code=$?
        case $code in
            0) break ;;
            3) ;; # whoever held it has removed it: there is a new one to take
            4)
                process=${said:+process $said}
                fail 1 "${process:-another run} works in $work_dir; wait for its end, stop it\
${said:+ (kill $said)}, or give another --work-dir"
                ;;
            *) fail 1 "$work_dir/$lock ${said:-cannot be locked}" ;;
        esac
    done
    trap let_go EXIT
}

let_go() {
    if [[ $stage_runs == yes ]]; then
        # A signal ends this shell before its stage. The stage ends, too, and holds the lock till
        # then; the next run takes the file over.
        local children=''
        read -r children <"/proc/$$/task/$$/children" || true
        # shellcheck disable=SC2086 # one number each
        kill -TERM $children || true
    elif [[ $lock -ef /dev/fd/8 ]]; then
        rm -f -- "$lock"
    fi
} 2>/dev/null

# PATH and its like name the current folder by an empty entry, and others from there. They were
# meant from where the user is; what lies in the work folder is no program and no library.
keep_to_given_folders() {
    local list entry rest kept
    for list in PATH PYTHONPATH LD_LIBRARY_PATH; do
        rest=${!list-}: kept=''
        while [[ -n $rest ]]; do
            entry=${rest%%:*} rest=${rest#*:}
            [[ $entry != /* ]] || kept+=${kept:+:}$entry
        done
        [[ -z ${!list-} ]] || export "$list=$kept"
    done
    # Python would not find the project beside its scripts, or ask questions at the end.
    unset PYTHONSAFEPATH PYTHONINSPECT
}

from_work() { # VARIABLE: its path becomes as short as it can be said in the work folder
    local shorter=${!1#"$work_dir"/}
    [[ $shorter != -* ]] || shorter=./$shorter
    printf -v "$1" %s "$shorter"
}
