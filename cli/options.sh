# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # run_all.sh, which reads this file, sets and reads the variables
# The command line of run_all.sh: its help, its options, and what is wrong with them.

readonly all_stages=(sample export preprocess info benchmark accuracy speed report)
readonly ascend_stages=(sample export om preprocess info reference benchmark accuracy speed report)
readonly all_options="--weights --images --labels --batch-size --work-dir --limit --engine \
--device --runner --soc-version --aipp --only --from --force --dry-run --quiet --verbose --help"

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
  --limit N            only the first N images (default: all)
  --engine NAME        what runs the model: $(engine_names) (default: auto)
  --device NAME        cpu: this machine (the default); ascend: a card, with CANN's tools
  --only STAGE         this stage alone (default: all of them)
  --from STAGE         this stage and those after it
  --force              do again what is up to date, too, and begin anew what was cut short
  --dry-run            print the commands; run nothing, make nothing
  -q, --quiet          no progress and no remarks, only results and errors
  -v, --verbose        details of each stage: settings, versions, what was chosen and why, times
  -h, --help           this text

Results (each stage's verdict, the table at the end) go to stdout, all else goes to stderr.

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

parse() {
    weights='' images='' labels='' batch_size='' work_dir=$project/work limit='' engine=''
    device=cpu runner='' soc_version='' soc='' aipp=no
    only='' from='' force=no dry_run=no anew='' quiet=no verbose=no told=usual how=()
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
            -q) quiet=yes ;;
            -v) verbose=yes ;;
            --force | --dry-run | --aipp | --quiet | --verbose)
                [[ $1 == "$option" ]] || fail 2 "$option takes no value"
                option=${option#--}
                printf -v "${option//-/_}" yes
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                # shellcheck disable=SC2086 # one word each
                fail 2 "unknown argument $(closest "$1" $all_options); the options are $all_options"
                ;;
        esac
        shift
    done
    [[ $force == no ]] || anew=force
    case $quiet$verbose in
        yesyes) fail 2 '--quiet and --verbose exclude each other' ;;
        yesno) told=quiet how=(--quiet) ;;
        noyes) told=verbose how=(--verbose) ;;
    esac
    case $device in
        cpu) batch_size=${batch_size:-1 16} ;;
        ascend) batch_size=${batch_size:-1 4 8 16 32} ;;
        *) fail 2 "--device: $(closest "$device" cpu ascend) is neither cpu nor ascend" ;;
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
    # shellcheck disable=SC2046 # one word each
    [[ -z $engine || " $(engine_names) " == *" $engine "* ]] ||
        fail 2 "--engine: no engine is called $(closest "$engine" $(engine_names)); there are \
$(engine_names)"
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
        fail 2 "--runner: $(closest "$runner" tool ais_bench own) is none of tool, ais_bench and own"
    [[ -z $soc_version || $soc_version =~ ^Ascend[0-9][0-9A-Za-z_]*$ ]] ||
        fail 2 "--soc-version: $(quoted "$soc_version") is no name such as Ascend310P3"
    if [[ $aipp == yes ]]; then
        [[ $only != reference ]] || fail 2 '--aipp: the processor takes no uint8 pixels'
        # So that they do not take the place of tensors that took long to make.
        prepared=prep_dataset_uint8 info=vovnet_prep_bin_uint8.info dtype=uint8
    fi
}

closest() { # WORD KNOWN ... -> WORD as one types it, and which of the others may be meant
    local found
    # Before there is an environment any Python will do, and without one nothing is suggested.
    found=$(python3 -I -S -c 'import difflib, sys
print(*difflib.get_close_matches(sys.argv[1].split("=")[0].lower(), sys.argv[2:], n=1))' \
        "$@" 2>/dev/null) || found=''
    printf %s "$(quoted "$1")${found:+ (did you mean $found?)}"
}

engine_names() { # each is one file; that of the card has its own path
    local file names=auto
    for file in "$project"/pipeline/engines/*_engine.py; do
        file=${file##*/}
        [[ $file == ascend_engine.py ]] || names+=" ${file%_engine.py}"
    done
    printf %s "$names"
}
