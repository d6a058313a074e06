# shellcheck shell=bash
# shellcheck disable=SC2154 # run_all.sh, which reads this file, has set the variables
# The stages of run_all.sh, each of them one of the guide's commands.

title_of() { # STAGE
    case $1 in
        sample) echo 'make the sample' ;;
        export) echo 'checkpoint -> ONNX' ;;
        preprocess) echo 'images -> .bin' ;;
        info) echo '.bin -> .info' ;;
        om) echo 'ONNX -> om' ;;
        reference) echo 'the ONNX on the processor, to compare with' ;;
        benchmark) echo '.bin -> results, timed' ;;
        accuracy) echo 'results + labels -> TopN' ;;
        speed) echo 'perf files -> speed' ;;
        report) echo 'all of it -> report.html' ;;
    esac
}

stage_sample() { step sample -m sample sample ${anew:+"--$anew"}; }

stage_export() {
    step vovnet39.onnx vovnet39_pth2onnx.py "$weights" vovnet39.onnx
}

stage_preprocess() {
    step "$prepared" vovnet_torch_preprocess.py "$images" "./$prepared" \
        ${limit:+--limit "$limit"} ${anew:+"--$anew"} ${dtype:+--dtype "$dtype"}
}

stage_info() {
    step "$info" get_info.py bin "./$prepared" "./$info" 224 224
}

stage_benchmark() {
    local device
    for device in "${!sizes[@]}"; do
        step "result/dumpOutput_device$device" benchmark.py -model_type=vision \
            "-device_id=$device" "-batch_size=${sizes[device]}" -om_path=vovnet39.onnx \
            "-input_text_path=./$info" -input_width=224 -input_height=224 \
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

stage_report() { step '' -m report . ${soc:+--soc-version "$soc"}; }

# OUTPUT SCRIPT [ARGUMENT ...]: one of the project's scripts, unless OUTPUT is just what it would
# make. The script -m is the project's Python package.
step() {
    local output=$1 script=$2 place=$project/$2
    shift 2
    from_work place
    local command=(python3 "$place" "$@" "${how[@]}")
    if [[ $script == -m ]]; then
        script=pipeline/__main__.py
        command=("${in_package[@]}" "$@" "${how[@]}")
    fi
    tell "$(quoted "${command[@]}")"
    if [[ $dry_run == yes ]]; then
        return
    fi
    if [[ $force == no && -n $output ]] && is_current "$output" "$project/$script" "$@"; then
        tell "up to date: $output (--force makes it anew)"
        return
    fi
    run_step "${command[@]}"
}

# shellcheck disable=SC2034 # the trap at the end reads stage_runs
run_step() { # WORD ...: run a stage's command, and stop where it fails
    local code=0
    stage_runs=yes
    "$@" || code=$?
    stage_runs=no
    if ((code)); then
        printf 'run_all.sh: FAILED: stopped in %s with exit code %s after %s s in %s; %s\n' \
            "$at" "$code" "$SECONDS" "$work_dir" 'the same command goes on from here' >&2
        exit "$code"
    fi
}

is_current() { # OUTPUT SCRIPT [ARGUMENT ...]
    local code=0
    local why=()
    [[ $told != verbose ]] || why=(--verbose)
    "${in_package[@]}" current "${why[@]}" "$@" || code=$?
    ((code <= 1)) || exit "$code" # it was ended by a signal, or could not start
    return "$code"
}
