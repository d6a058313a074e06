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
                       the first goes as device 0, the second as device 1, and so on
  --work-dir FOLDER    where everything is made (default: work, in the project)
  --limit N            only the first N images
  --engine NAME        what runs the model: $(engine_names) (default: auto)
  --only STAGE         this stage alone
  --from STAGE         this stage and those after it
  --force              do again what is up to date, too, and begin anew what was cut short
  --dry-run            print the commands; run nothing, make nothing
  -h, --help           this text

stages: ${all_stages[*]}

A run that was cut short, even by kill -9, goes on where it was when it is started again by the same
command. Two runs at once in one work folder are one too many: the second is refused.

Exit codes: that of the stage that failed; 2 where the command line is wrong; 130 after Ctrl-C.

examples:
  ./run_all.sh
  ./run_all.sh --weights vovnet39_torchvision.pth --images /opt/npu/imagenet/val \\
      --labels /opt/npu/imagenet/val_label.txt --batch-size "1 4 8 16 32"
TEXT
}

readonly lock=.run_all.lock # in the work folder
readonly all_stages=(sample export preprocess info benchmark accuracy speed)
readonly all_options="--weights --images --labels --batch-size --work-dir --limit --engine \
--only --from --force --dry-run --help"

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
    parse "$@"
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
    weights='' images='' labels='' batch_size='1 16' work_dir=$project/work limit='' engine=''
    only='' from='' force=no dry_run=no anew=''
    local option value
    while (($#)); do
        option=$1
        case $1 in --*=*) option=${1%%=*} ;; esac
        case $option in
            --weights | --images | --labels | --batch-size | --work-dir | --limit | --engine | \
                --only | --from)
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
            --force | --dry-run)
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
    [[ -z $only || -z $from ]] || fail 2 '--only and --from exclude each other'
    [[ -z $weights || -f $weights ]] || fail 1 "--weights: no such file: $weights"
    [[ -z $images || -d $images ]] || fail 1 "--images: no such folder: $images"
    [[ -z $labels || -f $labels ]] || fail 1 "--labels: no such file: $labels"
    [[ ! -e $work_dir || -d $work_dir ]] || fail 1 "--work-dir: no folder: $work_dir"
}

engine_names() { # each is one file
    local file names=auto
    for file in "$project"/pipeline/engines/*_engine.py; do
        file=${file##*/}
        names+=" ${file%_engine.py}"
    done
    printf %s "$names"
}

# stages: those of a whole run; chosen: those of this run.
choose_stages() {
    stages=("${all_stages[@]}")
    if [[ -n $weights$images$labels ]]; then
        stages=("${all_stages[@]:1}")
    fi
    local wanted=$only$from stage
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
        fail 2 "no stage is called $(quoted "$wanted"); the stages are ${all_stages[*]}"
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
        labels=prep_dataset/val_label.txt # the preprocessing writes it
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

# --- the stages -----------------------------------------------------------------------------------

title_of() { # STAGE
    case $1 in
        sample) echo 'make the sample' ;;
        export) echo 'checkpoint -> ONNX' ;;
        preprocess) echo 'images -> .bin' ;;
        info) echo '.bin -> .info' ;;
        benchmark) echo '.bin -> results, timed' ;;
        accuracy) echo 'results + labels -> TopN' ;;
        speed) echo 'perf files -> speed' ;;
    esac
}

stage_sample() { step sample -m sample sample ${anew:+"--$anew"}; }

stage_export() {
    step vovnet39.onnx vovnet39_pth2onnx.py "$weights" vovnet39.onnx
}

stage_preprocess() {
    step prep_dataset vovnet_torch_preprocess.py "$images" ./prep_dataset \
        ${limit:+--limit "$limit"} ${anew:+"--$anew"}
}

stage_info() {
    step vovnet_prep_bin.info get_info.py bin ./prep_dataset ./vovnet_prep_bin.info 224 224
}

stage_benchmark() {
    local device
    for device in "${!sizes[@]}"; do
        step "result/dumpOutput_device$device" benchmark.py -model_type=vision \
            "-device_id=$device" "-batch_size=${sizes[device]}" -om_path=vovnet39.onnx \
            -input_text_path=./vovnet_prep_bin.info -input_width=224 -input_height=224 \
            -output_binary=False -useDvpp=False ${engine:+"-engine=$engine"} \
            ${anew:+"-$anew"}
    done
}

stage_accuracy() {
    local device
    for device in "${!sizes[@]}"; do
        step "result_bs${sizes[device]}.json" vision_metric_ImageNet.py \
            "result/dumpOutput_device$device/" "$labels" ./ \
            "result_bs${sizes[device]}.json"
    done
}

stage_speed() {
    local device files=()
    for device in "${!sizes[@]}"; do
        files+=("result/perf_vision_batchsize_${sizes[device]}_device_$device.txt")
    done
    step '' perf_report.py "${files[@]}"
}

# OUTPUT SCRIPT [ARGUMENT ...]: one of the project's scripts, unless OUTPUT is just what it would
# make. The script -m is the project's Python package.
step() {
    local output=$1 script=$2 place=$project/$2 code=0
    shift 2
    from_work place
    local command=(python3 "$place" "$@")
    if [[ $script == -m ]]; then
        script=pipeline/__main__.py
        command=("${in_package[@]}" "$@")
    fi
    printf '%s\n' "$(quoted "${command[@]}")"
    if [[ $dry_run == yes ]]; then
        return
    fi
    if [[ $force == no && -n $output ]] && is_current "$output" "$project/$script" "$@"; then
        echo "up to date: $output (--force makes it anew)"
        return
    fi
    stage_runs=yes
    "${command[@]}" || code=$?
    stage_runs=no
    if ((code)); then
        echo "run_all.sh: stopped here with exit code $code; the same command goes on from here" >&2
        exit "$code"
    fi
}

is_current() { # OUTPUT SCRIPT [ARGUMENT ...]
    local code=0
    "${in_package[@]}" current "$@" || code=$?
    ((code <= 1)) || exit "$code" # it was ended by a signal, or could not start
    return "$code"
}

# --- around them ----------------------------------------------------------------------------------

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
        printf 'mkdir -p %s\n' "$(quoted "$work_dir")"
    fi
    in_package=(env "PYTHONPATH=$project" python3 -P -m pipeline)
    if [[ $work_dir == "$project" ]]; then
        in_package=(python3 -m pipeline)
    fi
    printf 'cd %s\n' "$(quoted "$work_dir")"
    local env_sh=$project/env.sh name
    for name in weights images labels env_sh; do
        from_work "$name"
    done
    printf 'source %s\n' "$(quoted "$env_sh")"
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
    local device command=("${in_package[@]}" summary)
    is_chosen accuracy || is_chosen speed || return 0
    for device in "${!sizes[@]}"; do
        command+=("result_bs${sizes[device]}.json"
            "result/perf_vision_batchsize_${sizes[device]}_device_$device.txt")
    done
    if [[ $dry_run == yes ]]; then
        heading 'the table'
        quoted "${command[@]}"
        echo
        return
    fi
    printf '\nall of it in %s s\n\n' "$SECONDS"
    "${command[@]}"
}

main "$@"
