# shellcheck shell=bash
# shellcheck disable=SC2154 # run_all.sh and cli/stages.sh, read before, set the variables
# The card's path: run_all.sh --device ascend. What is here takes the place of the stages in
# cli/stages.sh, where the card has its own.
#
# A command of CANN's is printed as the guide has it, and run by `python3 -m pipeline ascend`, which
# gives it the environment that it expects, keeps its record and sees whether all is there.

readonly aipp_file=aipp_vovnet39.config
readonly cpu_device=99 # a number in names that no device has

om_stem=vovnet39
[[ $aipp == no ]] || om_stem=vovnet39_aipp

# Find out what is there, print it, and stop where something is missing: before anything is run.
ascend_look() {
    local said line code=0 python=python3 needs=()
    from_here work_dir
    if is_chosen om; then needs+=(--convert); fi
    if is_chosen benchmark; then needs+=(--measure); fi
    if [[ $dry_run == yes ]]; then
        needs+=(--assume)
        [[ ! -x $project/.venv/bin/python3 ]] || python=$project/.venv/bin/python3
    fi
    in_ascend=(env "PYTHONPATH=$project" "VOVNET_TOOLS_PYTHONPATH=${PYTHONPATH-}" "$python" -P
        -m pipeline ascend)
    soc=Ascend310 tool_name=benchmark.$(uname -m) tool='' devices=(0 1 2 3)
    heading 'the card'
    # A dry run may come before there is an environment; what is here then remains unknown.
    said=$([[ $dry_run == no ]] || exec 2>/dev/null
        "${in_ascend[@]}" find "${how[@]}" "${needs[@]}" ${soc_version:+--soc-version "$soc_version"} \
            ${runner:+--runner "$runner"} "$work_dir" "$here") || code=$?
    while IFS= read -r line; do
        case $line in
            '# '*) heading "${line#??}" ;;
            soc=*) soc=${line#*=} ;;
            runner=*) runner=${line#*=} ;;
            tool_name=*) tool_name=${line#*=} ;;
            tool=*) tool=${line#*=} ;;
            devices=*) read -r -a devices <<<"${line#*=}" ;;
        esac
    done <<<"$said"
    if ((code)); then
        [[ $dry_run == yes ]] || exit "$code"
        heading "not looked for; assumed: ${soc_version:-$soc}"
        soc=${soc_version:-$soc}
        [[ $soc == Ascend310 ]] || devices=(0)
    fi
    runner=${runner:-tool}
    # It goes into commands that are printed to be pasted.
    [[ $soc =~ ^Ascend[0-9][0-9A-Za-z_]*$ ]] || fail 1 "no name of a chip: $(quoted "$soc")"
    chips=1
    if [[ $soc == Ascend310 ]]; then chips=4; fi
}

stage_om() {
    local size words=()
    if [[ $aipp == yes ]]; then
        step '' -m ascend aipp "$aipp_file"
    fi
    if [[ $dry_run == yes ]]; then
        heading "atc is env.sh's function, which takes .venv off its PATH (docs/ascend.md)"
    fi
    for size in "${sizes[@]}"; do
        words=(atc --framework=5 --model=./vovnet39.onnx --input_format=NCHW
            "--input_shape=image:$size,3,224,224" "--output=${om_stem}_bs$size" --log=debug
            "--soc_version=$soc")
        if [[ $aipp == yes ]]; then words+=("--insert_op_conf=$aipp_file"); fi
        say_guide "${words[@]}"
        run_ascend atc ${anew:+"--$anew"} -- "${words[@]}"
    done
}

# The same ONNX and the same tensors in float32 on the processor.
stage_reference() {
    step "result/dumpOutput_device$cpu_device" benchmark.py -model_type=vision \
        "-device_id=$cpu_device" -batch_size=16 -om_path=vovnet39.onnx \
        "-input_text_path=./$info" -input_width=224 -input_height=224 \
        -output_binary=False -useDvpp=False ${anew:+"-$anew"}
    step result_cpu.json vision_metric_ImageNet.py "result/dumpOutput_device$cpu_device/" \
        "$labels" ./ result_cpu.json
}

# Batch sizes share the devices. The next one replaces the results of the one before, which is
# therefore scored first.
stage_benchmark() {
    local place
    case $runner in
        tool) put_tool_here ;;
        ais_bench) close_results ;;
    esac
    for place in "${!sizes[@]}"; do
        plan "$place"
        look_at_results
        if [[ $runner == own ]]; then
            say_step benchmark.py "${run[@]:1}"
        else
            tell "rm -rf $dumps"
            say_guide "${tool_words[@]}"
        fi
        if [[ $dry_run == no ]]; then
            if [[ $force == no && $has_dumps$has_score != nono ]]; then
                tell "up to date: $speed_file (--force makes it anew)"
            elif [[ $runner == own ]]; then
                run_step python3 "${run[@]}" "${how[@]}"
            else
                run_ascend "${run[@]:2}"
            fi
        fi
        if is_chosen accuracy && ! is_last_on_device "$place"; then
            score
        fi
    done
}

stage_accuracy() {
    local place
    for place in "${!sizes[@]}"; do
        plan "$place"
        if ! is_chosen benchmark || is_last_on_device "$place"; then
            score
        fi
    done
}

stage_speed() {
    local place files=()
    if [[ $runner == ais_bench ]]; then
        heading 'the rates of ais_bench are in the table'
        return
    fi
    for place in "${!sizes[@]}"; do
        plan "$place"
        files+=("$speed_file")
    done
    step '' perf_report.py --chips "$chips" "${files[@]}"
}

# PLACE of a batch size: its device, its files, and the commands that make them; run and score_run
# are the commands as their records have them, the script first.
plan() {
    local size=${sizes[$1]} all
    chip=${devices[$1 % ${#devices[@]}]}
    result_file=result_bs$size.json om=${om_stem}_bs$size.om
    speed_file=result/perf_vision_batchsize_${size}_device_$chip.txt
    case $runner in
        own)
            all=("${devices[@]:0:chips}")
            chip=${all[0]}
            speed_file=result/perf_vision_batchsize_${size}_device_$chip.txt
            if ((${#all[@]} > 1)); then
                speed_file=result/perf_vision_batchsize_${size}_devices_$(joined _ "${all[@]}").txt
            fi
            run=("$project/benchmark.py" -model_type=vision
                "-device_id=$(joined , "${all[@]}")" "-batch_size=$size" "-om_path=$om"
                "-input_text_path=./$info" -input_width=224 -input_height=224
                -output_binary=False -useDvpp=False -engine=ascend ${anew:+"-$anew"})
            ;;
        ais_bench)
            speed_file=result/ais_bench_batchsize_${size}_device_$chip.json
            tool_words=(python3 -m ais_bench "--model=$om" "--input=./$prepared" --output=result
                "--output_dirname=dumpOutput_device$chip" --outfmt=BIN "--batchsize=$size"
                "--device=$chip")
            ;;
        tool)
            tool_words=("./$tool_name" -model_type=vision "-device_id=$chip"
                "-batch_size=$size" "-om_path=$om" "-input_text_path=./$info" -input_width=224
                -input_height=224 -output_binary=False -useDvpp=False)
            ;;
    esac
    if [[ $runner != own ]]; then
        run=("$project/pipeline/__main__.py" ascend measure "$info" -- "${tool_words[@]}")
    fi
    dumps=result/dumpOutput_device$chip
    score_run=("$dumps/" "$labels" ./ "$result_file")
}

is_last_on_device() { # PLACE: no later batch size replaces its results
    [[ $runner != own ]] || (($1 == ${#sizes[@]} - 1)) || return 1
    (($1 + ${#devices[@]} >= ${#sizes[@]})) || [[ $runner == own ]]
}

# has_dumps: the results of the planned run are there; has_score: the score from them is.
look_at_results() {
    local said plain=() word
    has_dumps=no has_score=no
    [[ $dry_run == no ]] || return 0
    for word in "${run[@]}"; do # a record leaves out what only says to begin anew
        [[ $word == -force ]] || plain+=("$word")
    done
    said=$("${in_ascend[@]}" state "$speed_file" "$result_file" -- "${plain[@]}" \
        -- "$project/vision_metric_ImageNet.py" "${score_run[@]}") || exit
    read -r has_dumps has_score <<<"$said"
}

score() {
    look_at_results
    say_step vision_metric_ImageNet.py "${score_run[@]}"
    [[ $dry_run == no ]] || return 0
    if [[ $has_score == yes && ($force == no || $has_dumps == no) ]]; then
        tell "up to date: $result_file (--force makes it anew)"
    elif [[ $has_dumps == no ]]; then
        fail 1 "$dumps does not hold the results of $om; start with --from benchmark"
    else
        run_step python3 "$project/vision_metric_ImageNet.py" "${score_run[@]}" "${how[@]}"
    fi
}

put_tool_here() { # the guide starts it from the folder that it works in
    if [[ -z $tool ]]; then
        heading "put $tool_name into this folder" # in a dry run alone: else it is there
    elif [[ $tool != "$work_dir/$tool_name" ]]; then
        tell "ln -sfn $(quoted "$tool") $tool_name"
        [[ $dry_run == yes ]] || ln -sfn -- "$tool" "$tool_name"
    fi
}

close_results() { # newer ais_bench refuses an output folder that others can read
    tell 'mkdir -p result && chmod 750 result'
    [[ $dry_run == yes ]] || { mkdir -p result && chmod 750 result; } || exit
}

run_ascend() { # WORD ...: a command of `python3 -m pipeline ascend`
    [[ $dry_run == yes ]] || run_step "${in_ascend[@]}" "$1" "${how[@]}" "${@:2}"
}

say_step() { # SCRIPT WORD ...: print a command of one of the project's scripts
    local place=$project/$1
    from_work place
    say_guide python3 "$place" "${@:2}" "${how[@]}"
}

say_guide() { # WORD ...: print a command as the guide writes it
    local word line=()
    for word; do
        case $word in
            --input_shape=*) line+=("${word%%=*}=\"${word#*=}\"") ;;
            *[!A-Za-z0-9_./=,:-]*) line+=("$(quoted "$word")") ;;
            *) line+=("$word") ;;
        esac
    done
    tell "${line[*]}"
}

joined() { # SEPARATOR WORD ...
    local IFS=$1
    printf %s "${*:2}"
}

# The table with the rules; its exit code is this run's.
ascend_finish() {
    local place command=("${in_package[@]}" ascend table --soc-version "$soc")
    if [[ -n $weights ]]; then command+=(--weights "$weights"); fi
    for place in "${!sizes[@]}"; do
        plan "$place"
        command+=("$result_file" "$speed_file")
    done
    show_table "${command[@]}"
}
