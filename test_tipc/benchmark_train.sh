#!/usr/bin/env bash
# Measure the speed of training for batch sizes, precisions and numbers of processes.
#
#   bash test_tipc/benchmark_train.sh CONFIG benchmark_train [dynamic_bs2_fp32_DP_N1C1]
#
# The section train_benchmark_params of CONFIG says what is run; docs/benchmark_train.md explains it.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source test_tipc/common_func.sh

[[ $# -ge 2 && "$2" == benchmark_train ]] || fail "usage: benchmark_train.sh CONFIG benchmark_train [NAME]"
read_config "$1"
MODE=benchmark_train
only=${3:-}
expect_section 1 train_params
use_own_environment

benchmark_value() { # key: its value in the section train_benchmark_params
    local text inside=""
    for text in "${lines[@]}"; do
        [[ "$text" == *====*train_benchmark_params* ]] && inside=yes
        [[ -n "$inside" && "$(func_parser_key "$text")" == "$1" ]] && { func_parser_value "$text"; return 0; }
    done
    return 1
}

model=$(func_parser_value "$(line 2)")
python=$(func_parser_value "$(line 3)")
batch_sizes=$(benchmark_value batch_size) || fail "${config_file} has no section train_benchmark_params with batch_size"
fp_items=$(benchmark_value fp_items) || fail "${config_file}: train_benchmark_params has no fp_items"
epochs=$(benchmark_value epoch) || fail "${config_file}: train_benchmark_params has no epoch"
skip_steps=$(benchmark_value skip_steps) || skip_steps=0
flags=$(benchmark_value flags) || flags=null
is_set "$flags" && environment="env ${flags//;/ }" || environment=""
single=$(func_parser_value "$(line 16)")
several="-m paddle.distributed.launch --nproc_per_node 2"
folder=${BENCHMARK_LOG_DIR:-test_tipc/output/${model}/benchmark_train}
mkdir -p "$folder/train_log" "$folder/index"
start_steps "$folder" "$model"

run_one() { # batch precision processes
    local name="dynamic_bs$1_$2_DP_N1C$3" log run launch="" cast=""
    [[ -z "$only" || "$only" == "$name" ]] || return 0
    log="${folder}/train_log/${model}_bs$1_$2_DP_N1C$3_log"
    run="${folder}/run_${name}"
    rm -rf "$run"
    [[ "$3" == 1 ]] || launch="$several --log_dir ${run}/launch"
    [[ "$2" == fp32 ]] || cast=$(func_set_params "$(func_parser_key "$(line 6)")" "$2")
    run_step "$name" train "$log" "$(join_words "$environment" "$python" "$launch" "$single" \
        "$(func_set_params "$(func_parser_key "$(line 5)")" "$(func_parser_value "$(line 5)")")" \
        "$(func_set_params "$(func_parser_key "$(line 8)")" "$run")" \
        "$(func_set_params "$(func_parser_key "$(line 7)")" "$epochs")" "$cast" \
        "$(func_set_params "$(func_parser_key "$(line 9)")" "$1")" \
        "$(func_set_params "$(func_parser_key "$(line 13)")" "$(func_parser_value "$(line 13)")")")" || return 1
    run_step "$name" result "${folder}/index/${model}_bs$1_$2_DP_N1C$3_speed" \
        "$python test_tipc/benchmark_result.py ${log} --skip_steps=${skip_steps} --model_name=${model} --batch_size=$1 --fp_item=$2 --processes=$3"
}

IFS="|"
for batch in $batch_sizes; do
    for precision in $fp_items; do
        for processes in 1 2; do
            IFS=$' \t\n' run_one "$batch" "$precision" "$processes"
        done
    done
done
unset IFS
[[ -s "$steps_file" ]] || fail "no run is called '$only'"
finish_steps
