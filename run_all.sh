#!/usr/bin/env bash
# From checkpoint and images to accuracy and speed figures; ./run_all.sh --help says how.
set -euo pipefail

usage() {
    cat <<TEXT
usage: ./run_all.sh [OPTION ...]

Take VoVNet-39 from checkpoint to ONNX to accuracy and speed figures, in numbered stages. Each stage
is one of the guide's own commands; it is printed as it runs and can be pasted into a shell. A second
run does again only what changed. Without --weights and --images it makes and uses the sample.

  --weights FILE       checkpoint, such as vovnet39_torchvision.pth
  --images FOLDER      images: a flat folder, or one sub-folder per class
  --labels FILE        lines of "NAME LABEL"; with class sub-folders it may be left out
  --batch-size SIZES   one or more, as in "1 16" or 1,4,8 (default: "1 16");
                       the first goes as device 0, the second as device 1, and so on; on a
                       card "1 4 8 16 32" by default, and its devices take turns
  --work-dir FOLDER    where everything is made (default: work, in the project)
  --limit N            only the first N images
  --engine NAME        what runs the model: $(engine_names) (default: auto)
  --device NAME        cpu: this machine (the default); ascend: a card, with CANN's tools
  --only STAGE         this stage alone
  --from STAGE         this stage and those after it
  --force              do again what is up to date, too, and begin anew what was cut short
  --dry-run            print the commands; run nothing, make nothing
  -h, --help           this text

With --device ascend:
  --runner NAME        tool: Huawei's benchmark.<arch>; ais_bench; own: benchmark.py on all chips
                       of a card at once (default: the first of them that is there)
  --soc-version NAME   the chip, as in Ascend310P3 (default: what npu-smi info says)
  --aipp               the chip normalises: pictures are prepared as uint8 pixels

stages: ${all_stages[*]}
with --device ascend: ${ascend_stages[*]}
        (reference: the sample's, and others' with --only reference)

A run that was cut short, even by kill -9, goes on where it was when it is started again by the same
command. Two runs at once in one work folder are one too many: the second is refused.

On a card the table ends with the ModelZoo's rules. Accuracy that fails makes the exit code 1; a
speed that fails is shown, and may be due to others who use the card.

Exit codes: that of the stage that failed; 2 where the command line is wrong; 130 after Ctrl-C.

examples:
  ./run_all.sh
  ./run_all.sh --weights vovnet39_torchvision.pth --images /opt/npu/imagenet/val \\
      --labels /opt/npu/imagenet/val_label.txt --batch-size "1 4 8 16 32"
  ./run_all.sh --device ascend --dry-run
TEXT
}

readonly all_stages=(sample export preprocess info benchmark accuracy speed)
readonly ascend_stages=(sample export om preprocess info reference benchmark accuracy speed)
readonly all_options="--weights --images --labels --batch-size --work-dir --limit --engine \
--device --runner --soc-version --aipp --only --from --force --dry-run --help"

fail() { # CODE MESSAGE
    printf 'run_all.sh: error: %s\n' "$2" >&2
    exit "$1"
}

main() {
    local number=0 stage
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
    for stage in "${stages[@]}"; do
        number=$((number + 1))
        if is_chosen "$stage"; then
            heading "[$number/${#stages[@]}] $(title_of "$stage")"
            "stage_$stage"
        fi
    done
    finish
}

# --- the command line -----------------------------------------------------------------------------

parse() {
    weights='' images='' labels='' batch_size='' work_dir=$project/work limit='' engine=''
    device=cpu runner='' soc_version='' aipp=no
    only='' from='' force=no dry_run=no anew=''
    prepared=prep_dataset info=vovnet_prep_bin.info dtype=''
    local option value
    while (($#)); do
        option=$1
        case $1 in --*=*) option=${1%%=*} ;; esac
        case $option in
            --weights | --images | --labels | --batch-size | --work-dir | --limit | --engine | \
                --device | --runner | --soc-version | --only | --from)
                if [[ $1 == *=* ]]; then
                    value=${1#*=}
                else
                    shift
                    value=${1-}
                    [[ $value != --* ]] || value='' # the next option, not this one's value
                fi
                [[ -n $value ]] || fail 2 "$option needs a value; see ./run_all.sh --help"
                # As in --work-dir=~/x, which no shell expands.
                # shellcheck disable=SC2088
                case $value in '~' | '~/'*)
                    fail 2 "$option: the shell has not expanded the ~ in $value; write \$HOME${value#\~}"
                    ;;
                esac
                option=${option#--}
                printf -v "${option//-/_}" %s "$value"
                ;;
            --force | --dry-run | --aipp)
                [[ $1 == "$option" ]] || fail 2 "$option takes no value"
                option=${option#--}
                printf -v "${option//-/_}" yes
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail 2 "unknown argument $(quoted "$1"); the options are $all_options" ;;
        esac
        shift
    done
    [[ $force == no ]] || anew=force
    case $device in
        cpu) batch_size=${batch_size:-1 16} ;;
        ascend) batch_size=${batch_size:-1 4 8 16 32} ;;
        *) fail 2 "--device: $(quoted "$device") is neither cpu nor ascend" ;;
    esac
}

check_values() {
    local size seen=' '
    IFS=$' ,\t\n' read -r -d '' -a sizes <<<"$batch_size" || true
    ((${#sizes[@]})) || fail 2 '--batch-size names no batch size'
    for size in "${sizes[@]}"; do
        [[ $size =~ ^[1-9][0-9]{0,3}$ ]] ||
            fail 2 "--batch-size: $(quoted "$size") is not a whole number from 1 to 9999"
        [[ $seen != *" $size "* ]] || fail 2 "--batch-size names $size twice"
        seen+="$size "
    done
    [[ -z $limit || $limit =~ ^[1-9][0-9]{0,8}$ ]] ||
        fail 2 "--limit: $(quoted "$limit") is not a whole number of at least 1"
    [[ -z $engine || " $(engine_names) " == *" $engine "* ]] ||
        fail 2 "--engine: no engine is called $(quoted "$engine"); there are $(engine_names)"
    check_device_options
    [[ -z $only || -z $from ]] || fail 2 '--only and --from exclude each other'
    [[ -z $weights || -f $weights ]] || fail 1 "--weights: no such file: $weights"
    [[ -z $images || -d $images ]] || fail 1 "--images: no such folder: $images"
    [[ -z $labels || -f $labels ]] || fail 1 "--labels: no such file: $labels"
    [[ ! -e $work_dir || -d $work_dir ]] || fail 1 "--work-dir: no folder: $work_dir"
}

check_device_options() {
    if [[ $device == cpu ]]; then
        [[ -z $runner ]] || fail 2 '--runner is for --device ascend'
        [[ -z $soc_version ]] || fail 2 '--soc-version is for --device ascend'
        [[ $aipp == no ]] || fail 2 '--aipp is for --device ascend'
        return
    fi
    [[ -z $engine ]] || fail 2 '--engine is for --device cpu; on a card there is --runner'
    [[ -z $runner || $runner == @(tool|ais_bench|own) ]] ||
        fail 2 "--runner: $(quoted "$runner") is none of tool, ais_bench and own"
    [[ -z $soc_version || $soc_version =~ ^Ascend[0-9][0-9A-Za-z_]*$ ]] ||
        fail 2 "--soc-version: $(quoted "$soc_version") is no name such as Ascend310P3"
    if [[ $aipp == yes ]]; then
        [[ $only != reference ]] || fail 2 '--aipp: the processor takes no uint8 pixels'
        # So that they do not take the place of tensors that took long to make.
        prepared=prep_dataset_uint8 info=vovnet_prep_bin_uint8.info dtype=uint8
    fi
}

engine_names() { # each is one file; that of the card has its own path
    local file names=auto
    for file in "$project"/pipeline/engines/*_engine.py; do
        file=${file##*/}
        [[ $file == ascend_engine.py ]] || names+=" ${file%_engine.py}"
    done
    printf %s "$names"
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
        fail 2 "no stage is called $(quoted "$wanted"); the stages are ${known[*]}"
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
    [[ $dry_run == yes ]] && printf '# %s\n' "$1" || printf '\n%s\n' "$1"
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
        quoted "$@"
        echo
        return
    fi
    printf '\nall of it in %s s\n\n' "$SECONDS"
    "$@"
}

main "$@"
