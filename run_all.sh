#!/usr/bin/env bash
# From checkpoint and images to accuracy and speed figures; ./run_all.sh --help says how.
set -euo pipefail

# Results go to stdout: what the stages find, and the table. All else goes to stderr. The commands
# of a dry run are its result.

fail() { # CODE MESSAGE
    printf 'run_all.sh: error: %s\n' "$2" >&2
    exit "$1"
}

main() {
    local number=0 stage began at=''
    # A closed stream (>&-) is no reason to fail.
    { : >&1; } 2>/dev/null || exec >/dev/null
    { : >&2; } 2>/dev/null || exec 2>/dev/null
    unset CDPATH
    # The dot, because $(...) takes line breaks from the end of a name.
    here=$(pwd -P && echo .) || fail 1 'the current folder is gone; cd to one that is there'
    here=${here%$'\n'.}
    project=$(readlink -f -- "${BASH_SOURCE[0]}" && echo .)
    project=${project%/*} project=${project:-/}
    # shellcheck source=cli/work_folder.sh
    source "$project/cli/work_folder.sh"
    # shellcheck source=cli/stages.sh
    source "$project/cli/stages.sh"
    # shellcheck source=cli/options.sh
    source "$project/cli/options.sh"
    parse "$@"
    if [[ $device == ascend ]]; then
        # shellcheck source=cli/ascend_stages.sh
        source "$project/cli/ascend_stages.sh"
    fi
    check_values
    choose_stages
    choose_sources
    if [[ $dry_run == no ]]; then
        # A process that ends on Ctrl-C with code 130 is a failed stage like any other. By then it
        # has ended.
        trap 'stage_runs=no; exit 130' INT
        VOVNET_ENV_QUIET=1
        # shellcheck source=env.sh
        source "$project/env.sh" || exit
        keep_to_given_folders
    fi
    [[ $device == cpu ]] || ascend_look
    enter_work_dir
    [[ $dry_run == yes ]] || hold_work_dir
    say_work_dir
    for stage in "${stages[@]}"; do
        number=$((number + 1))
        if is_chosen "$stage"; then
            at="stage $number of ${#stages[@]} ($stage)" began=$SECONDS
            heading "[$number/${#stages[@]}] $(title_of "$stage")"
            "stage_$stage"
            detail "$stage took $((SECONDS - began)) s"
        fi
    done
    finish
}

# stages: those of a whole run; chosen: those of this run.
choose_stages() {
    local wanted=$only$from stage known=("${all_stages[@]}")
    [[ $device == cpu ]] || known=("${ascend_stages[@]}")
    stages=()
    for stage in "${known[@]}"; do
        [[ $stage != sample || -z $weights$images$labels ]] || continue
        if [[ $stage == reference && $only != reference ]]; then
            [[ -z $weights$images$labels && $aipp == no ]] || continue
        fi
        stages+=("$stage")
    done
    chosen=()
    for stage in "${stages[@]}"; do
        if [[ -z $wanted || $stage == "$wanted" ]] || ((${#chosen[@]})); then
            chosen+=("$stage")
            [[ -z $only ]] || break
        fi
    done
    if ((${#chosen[@]} == 0)); then
        [[ $wanted != sample ]] ||
            fail 2 'the sample is made where --weights, --images and --labels are all left out'
        fail 2 "no stage is called $(closest "$wanted" "${known[@]}"); the stages are ${known[*]}"
    fi
}

is_chosen() { [[ " ${chosen[*]} " == *" $1 "* ]]; }

# Where checkpoint, images and labels come from; all from the user, or all from the sample.
choose_sources() {
    if [[ -z $weights$images$labels ]]; then
        weights=sample/vovnet39_sample.pth images=sample/images labels=sample/val_label.txt
        return
    fi
    if is_chosen export && [[ -z $weights ]]; then
        fail 2 "--weights is missing: the sample's checkpoint knows no other images than its own"
    fi
    if is_chosen preprocess && [[ -z $images ]]; then
        fail 2 "--images is missing: the sample's images mean nothing to another checkpoint"
    fi
    if is_chosen accuracy && [[ -z $labels ]]; then
        [[ -n $images ]] || fail 2 '--labels is missing'
        has_class_folders "$images" ||
            fail 2 "--labels is missing, and $images is not one sub-folder per class"
        labels=$prepared/val_label.txt # the preprocessing writes it
    else
        from_here labels
    fi
    from_here weights
    from_here images
}

has_class_folders() { # FOLDER: sub-folders, and no image beside them
    local entry code=1 end='\.(jpe?g|png|p[pg]m|bmp|tiff?|webp)$'
    shopt -s nocasematch
    for entry in "$1"/*; do
        if [[ -d $entry ]]; then
            code=0
        elif [[ $entry =~ $end ]]; then
            code=1
            break
        fi
    done
    shopt -u nocasematch
    return "$code"
}

from_here() { # VARIABLE: its path, relative to where the user is, becomes absolute
    case ${!1} in
        '' | /*) ;;
        *) printf -v "$1" %s "$here/${!1#./}" ;;
    esac
}

# --- around them ----------------------------------------------------------------------------------

quoted() { # WORD ... -> as one types them
    local line
    printf -v line '%q ' "$@"
    printf %s "${line% }"
}

heading() {
    # A dry run can be pasted whole: its headings are comments.
    if [[ $dry_run == yes ]]; then
        [[ $told == quiet ]] || printf '# %s\n' "$1"
    else
        tell $'\n'"$1"
    fi
}

tell() { # LINE: what is done. That is what a dry run is asked for, and else a remark
    if [[ $dry_run == yes ]]; then
        printf '%s\n' "$1"
    elif [[ $told != quiet ]]; then
        printf '%s\n' "$1" >&2
    fi
}

detail() { # LINE
    [[ $told != verbose ]] || printf '  %s\n' "$1" >&2
}

# The table, where this run went as far as figures.
finish() {
    local place command=("${in_package[@]}" summary)
    is_chosen accuracy || is_chosen speed || return 0
    if [[ $device == ascend ]]; then
        ascend_finish
        return
    fi
    for place in "${!sizes[@]}"; do
        command+=("result_bs${sizes[place]}.json"
            "result/perf_vision_batchsize_${sizes[place]}_device_$place.txt")
    done
    show_table "${command[@]}"
}

show_table() { # WORD ...: the command that prints it
    if [[ $dry_run == yes ]]; then
        heading 'the table'
        tell "$(quoted "$@" "${how[@]}")"
        return
    fi
    printf '\nall of it in %s s\n\n' "$SECONDS"
    "$@" "${how[@]}"
}

main "$@"
