#!/usr/bin/env bash
# Train, evaluate, export and infer as a TIPC config says.
#
#   bash test_tipc/test_train_inference_python.sh CONFIG MODE [GPU]
#
# CONFIG has the 51-line form (docs/test_train_inference_python.md explains each line). MODE is lite_train_lite_infer,
# lite_train_whole_infer, whole_train_whole_infer or whole_infer. For every entry of gpu_list, auto_cast and trainer one
# branch runs: training, evaluation, export, the eager network's outputs, inference over the grid of lines 41-46, and
# the comparison of each result with the eager one. A branch stops at its first failure; the exit status is then 1.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source test_tipc/common_func.sh

[[ $# -ge 2 ]] || fail "usage: test_train_inference_python.sh CONFIG MODE [GPU]"
read_config "$1"
MODE=$2
GPU_ID=${3:-0}
case "$MODE" in
    lite_train_lite_infer | lite_train_whole_infer | whole_train_whole_infer | whole_infer) ;;
    klquant_whole_infer) fail "mode $MODE: quantised models are not supported, see test_tipc/README.md" ;;
    *) fail "unknown mode $MODE; expected lite_train_lite_infer, lite_train_whole_infer, whole_train_whole_infer or whole_infer" ;;
esac
expect_section 1 train_params
expect_section 23 eval_params
expect_section 27 infer_params
use_own_environment

# --- training, lines 2 to 21 ---
model=$(func_parser_value "$(line 2)")
python=$(func_parser_value "$(line 3)")
gpu_list=$(func_parser_value "$(line 4)")
use_gpu_key=$(func_parser_key "$(line 5)")
use_gpu_list=$(func_parser_value "$(line 5)")
autocast_key=$(func_parser_key "$(line 6)")
autocast_list=$(func_parser_value "$(line 6)")
epoch_key=$(func_parser_key "$(line 7)")
save_model_key=$(func_parser_key "$(line 8)")
batch_key=$(func_parser_key "$(line 9)")
pretrain_key=$(func_parser_key "$(line 10)")
pretrain_value=$(func_parser_value "$(line 10)")
train_model_name=$(func_parser_value "$(line 11)")
train_infer_dir=$(func_parser_value "$(line 12)")
train_param=$(func_set_params "$(func_parser_key "$(line 13)")" "$(func_parser_value "$(line 13)")")
trainer_list=$(func_parser_value "$(line 15)")

# --- evaluation, lines 24 and 25; export, lines 28 to 36 ---
eval_py=$(func_parser_value "$(line 24)")
eval_param=$(func_set_params "$(func_parser_key "$(line 25)")" "$(func_parser_value "$(line 25)")")
save_infer_key=$(func_parser_key "$(line 28)")
export_weight_key=$(func_parser_key "$(line 29)")
inference_dir=$(func_parser_value "$(line 36)")

# --- inference, lines 37 to 51 ---
infer_model_list=$(func_parser_value "$(line 37)")
infer_export_list=$(func_parser_value "$(line 38)")
infer_quant_list=$(func_parser_value "$(line 39)")
inference_py=$(func_parser_value "$(line 40)")
device_key=$(func_parser_key "$(line 41)")
device_list=$(func_parser_value "$(line 41)")
mkldnn_key=$(func_parser_key "$(line 42)")
mkldnn_list=$(func_parser_value "$(line 42)")
threads_key=$(func_parser_key "$(line 43)")
threads_list=$(func_parser_value "$(line 43)")
infer_batch_key=$(func_parser_key "$(line 44)")
infer_batch_list=$(func_parser_value "$(line 44)")
tensorrt_key=$(func_parser_key "$(line 45)")
tensorrt_list=$(func_parser_value "$(line 45)")
precision_key=$(func_parser_key "$(line 46)")
precision_list=$(func_parser_value "$(line 46)")
infer_model_key=$(func_parser_key "$(line 47)")
input_key=$(func_parser_key "$(line 48)")
infer_input_dir=$(func_parser_value "$(line 48)")
save_log_key=$(func_parser_key "$(line 49)")
benchmark_param=$(func_set_params "$(func_parser_key "$(line 50)")" "$(func_parser_value "$(line 50)")")
infer_param=$(func_set_params "$(func_parser_key "$(line 51)")" "$(func_parser_value "$(line 51)")")

trainer_command() { # trainer kind(train|export): the command of a trainer, by its name in lines 16-21 and 30-35
    local number
    for number in 16 17 18 19 20 21; do
        if [[ "$(func_parser_key "$(line "$number")")" == "$1" ]]; then
            [[ "$2" == train ]] || number=$((number + 14))
            func_parser_value "$(line "$number")"
            return 0
        fi
    done
    return 1
}

launcher() { # gpus run: what stands before the training script. One card or none: nothing; several: the launcher
    local gpus=$1 run=$2
    if [[ ${#gpus} -le 2 ]]; then
        return 0
    elif [[ "$gpus" == *";"* ]]; then # several machines: "ip,ip;0,1"
        echo "-m paddle.distributed.launch --ips=${gpus%%;*} --devices=${gpus#*;} --log_dir=${run}/launch"
    else
        echo "-m paddle.distributed.launch --devices=${gpus} --log_dir=${run}/launch"
    fi
}

visible() { # gpus: environment of a run on one card
    [[ "$1" =~ ^[0-9]+$ ]] && echo "env CUDA_VISIBLE_DEVICES=$1"
}

infer_once() { # branch run model_dir input eager gpus device mkldnn threads batch tensorrt precision
    local branch=$1 run=$2 model_dir=$3 input=$4 eager=$5 gpus=$6 device=$7 mkldnn=$8 threads=$9
    local batch=${10} tensorrt=${11} precision=${12} name command
    if [[ "$device" == gpu ]]; then
        name="python_infer_gpu_${branch}_usetrt_${tensorrt}_precision_${precision}_batchsize_${batch}"
    else
        name="python_infer_cpu_${branch}_usemkldnn_${mkldnn}_threads_${threads}_precision_${precision}_batchsize_${batch}"
    fi
    command=$(join_words "$(visible "$gpus")" "$python" "$inference_py" \
        "$(func_set_params "$device_key" "${13}")" "$(func_set_params "$mkldnn_key" "$mkldnn")" \
        "$(func_set_params "$threads_key" "$threads")" "$(func_set_params "$tensorrt_key" "$tensorrt")" \
        "$(func_set_params "$infer_model_key" "$model_dir")" "$(func_set_params "$infer_batch_key" "$batch")" \
        "$(func_set_params "$input_key" "$input")" "$(func_set_params "$save_log_key" "${LOG_PATH}/${name}_benchmark.log")" \
        "$benchmark_param" "$(func_set_params "$precision_key" "$precision")" "$infer_param" \
        "$(func_set_params --expected "$eager")" "--output=${LOG_PATH}/${name}.json")
    run_step "$branch" "infer ${device} mkldnn=${mkldnn:--} threads=${threads:--} batch=${batch} ${precision}" \
        "${LOG_PATH}/${name}.log" "$command"
}

func_inference() { # branch run model_dir input eager gpus quantised: the grid of lines 41 to 46
    local value mkldnn threads batch tensorrt precision IFS="|"
    for value in $device_list; do
        case "$value" in
            False | cpu)
                for mkldnn in $mkldnn_list; do for threads in $threads_list; do
                    for batch in $infer_batch_list; do for precision in $precision_list; do
                        if [[ "$mkldnn" == False && "$precision" != fp32 ]]; then
                            record "$1" "infer cpu mkldnn=False ${precision}" skipped 0 "-" "only oneDNN has ${precision}"
                        elif [[ "$7" == True && "$precision" != int8 ]]; then
                            record "$1" "infer cpu ${precision}" skipped 0 "-" "the model is quantised"
                        else
                            infer_once "${@:1:6}" cpu "$mkldnn" "$threads" "$batch" "" "$precision" "$value" || return 1
                        fi
                    done; done
                done; done ;;
            True | gpu)
                for tensorrt in $tensorrt_list; do for precision in $precision_list; do
                    for batch in $infer_batch_list; do
                        infer_once "${@:1:6}" gpu "" "" "$batch" "$tensorrt" "$precision" "$value" || return 1
                    done
                done; done ;;
            *) fail "${config_file}:41 has '$value'; expected True, False, gpu or cpu" ;;
        esac
    done
}

eager_and_inference() { # branch run model_dir input export_py weights gpus quantised
    local branch=$1 run=$2 model_dir=$3 input=$4 export_py=$5 weights=$6 gpus=$7 quantised=$8 eager="${2}/eager.npz" graph=""
    [[ "$inference_py" =~ --graph[=\ ]+([A-Za-z0-9_]+) ]] && graph="--graph=${BASH_REMATCH[1]}" # of several the one of line 40
    if [[ "$export_py" == *export_model.py* ]]; then
        run_step "$branch" "eager outputs" "${run}/eager.log" \
            "$(join_words "$python" "${export_py/export_model.py/test_tipc/eager_outputs.py}" "$graph") ${export_weight_key}=${weights} --input=${input} --model_dir=${model_dir} --output=${eager}" || return 1
        require_file "$branch" "eager outputs" "$eager" || return 1
    else
        eager=""
        record "$branch" "eager outputs" skipped 0 "-" "the config gives no export command to take the network from"
    fi
    func_inference "$branch" "$run" "$model_dir" "$input" "$eager" "$gpus" "$quantised" || return 1
    [[ -z "$eager" ]] || run_step "$branch" "compare results" "${run}/compare_results.log" \
        "$python test_tipc/compare_results.py --gt_file='${run}/eager.log' --log_file='${LOG_PATH}/python_infer_*_${branch}_use*_batchsize_*[0-9].log'"
}

infer_folder() { # run: where the exported model is
    if is_set "$inference_dir"; then echo "$1/$inference_dir"; else echo "$1"; fi
}

train_branch() { # gpus use_gpu autocast trainer
    local gpus=$1 use_gpu=$2 autocast=$3 trainer=$4 train_py export_py branch run weights command
    branch="${trainer}_gpus_${gpus//[^A-Za-z0-9.-]/_}_autocast_${autocast}"
    run="${LOG_PATH}/${branch}"
    train_py=$(trainer_command "$trainer" train) || fail "${config_file}: trainer $trainer has no line among 16 to 21"
    export_py=$(trainer_command "$trainer" export)
    is_set "$train_py" || { record "$branch" train skipped 0 "-" "the config gives no command for $trainer"; return 0; }
    rm -rf "$run"
    mkdir -p "$run"
    weights="${run}/${train_model_name}"
    command=$(join_words "$(visible "$gpus")" "$python" "$(launcher "$gpus" "$run")" "$train_py" \
        "$(func_set_params "$use_gpu_key" "$use_gpu")" "$(func_set_params "$save_model_key" "$run")" \
        "$(func_set_params "$epoch_key" "$epochs")" "$(func_set_params "$pretrain_key" "$pretrain_value")" \
        "$(func_set_params "$autocast_key" "$autocast")" "$(func_set_params "$batch_key" "$batch_size")" "$train_param")
    run_step "$branch" train "${run}/train.log" "$command" || return 1
    require_file "$branch" train "$weights" || return 1
    run_step "$branch" "training log" "${run}/training_log.json" "$python test_tipc/training_log.py ${run}/train.log" || return 1
    if is_set "$eval_py"; then
        run_step "$branch" evaluate "${run}/eval.log" "$(join_words "$(visible "$gpus")" "$python" "$eval_py" \
            "$(func_set_params "$pretrain_key" "$weights")" "$(func_set_params "$use_gpu_key" "$use_gpu")" "$eval_param")" || return 1
    fi
    is_set "$export_py" || { record "$branch" export skipped 0 "-" "the config gives no export command for $trainer"; return 0; }
    run_step "$branch" export "${run}/export.log" "$(join_words "$python" "$export_py" \
        "$(func_set_params "$export_weight_key" "$weights")" "$(func_set_params "$save_infer_key" "$run")")" || return 1
    eager_and_inference "$branch" "$run" "$(infer_folder "$run")" "$train_infer_dir" "$export_py" "$weights" "$gpus" False
}

train_all() {
    local gpus autocast trainer position=0 IFS="|"
    local -a switches
    epochs=$(func_parser_params "$(line 7)") || exit 1
    batch_size=$(func_parser_params "$(line 9)") || exit 1
    read -ra switches <<< "$use_gpu_list"
    for gpus in $gpu_list; do
        for autocast in $autocast_list; do
            for trainer in $trainer_list; do
                IFS=$' \t\n' train_branch "$gpus" "${switches[position]:-${switches[0]}}" "$autocast" "$trainer"
            done
        done
        position=$((position + 1))
    done
}

whole_infer_branch() { # number model export quantised
    local branch="whole_infer_$1" model_file=$2 export_py=$3 run
    run="${LOG_PATH}/${branch}"
    rm -rf "$run"
    mkdir -p "$run"
    if is_set "$export_py"; then
        run_step "$branch" export "${run}/export.log" "$(join_words "$python" "$export_py" \
            "$(func_set_params "$export_weight_key" "$model_file")" "$(func_set_params "$save_infer_key" "$run")")" || return 1
        eager_and_inference "$branch" "$run" "$(infer_folder "$run")" "$infer_input_dir" "$export_py" "$model_file" "$GPU_ID" "$4"
    else
        func_inference "$branch" "$run" "$model_file" "$infer_input_dir" "" "$GPU_ID" "$4"
    fi
}

whole_infer_all() {
    local position
    local -a models exports quantised
    is_set "$infer_model_list" || fail "mode whole_infer needs a model in ${config_file}:37"
    IFS="|" read -ra models <<< "$infer_model_list"
    IFS="|" read -ra exports <<< "$infer_export_list"
    IFS="|" read -ra quantised <<< "$infer_quant_list"
    for position in "${!models[@]}"; do
        whole_infer_branch "$((position + 1))" "${models[position]}" "${exports[position]:-null}" "${quantised[position]:-False}"
    done
}

start_steps "test_tipc/output/${model}/${MODE}" "$model"
find "$LOG_PATH" -maxdepth 1 -name "python_infer_*" -delete # stale results must not be compared
ln -sfn "${MODE}/results_python.log" "test_tipc/output/${model}/results_python.log" # where older tools look
if [[ "$MODE" == whole_infer ]]; then whole_infer_all; else train_all; fi
finish_steps
