#!/usr/bin/env bash
# Convert an exported model to ONNX and run it, as a 13-line TIPC config says.
#
#   bash test_tipc/test_paddle2onnx.sh CONFIG paddle2onnx_infer
#
# Needs the optional packages paddle2onnx and onnxruntime, and the model that the lite chain of lines 5 to 7 exported.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source test_tipc/common_func.sh

[[ $# -ge 1 ]] || fail "usage: test_paddle2onnx.sh CONFIG [paddle2onnx_infer]"
read_config "$1"
MODE=${2:-paddle2onnx_infer}
[[ "$MODE" == paddle2onnx_infer ]] || fail "unknown mode $MODE; expected paddle2onnx_infer"
expect_section 1 paddle2onnx_params
use_own_environment

model=$(func_parser_value "$(line 2)")
python=$(func_parser_value "$(line 3)")
converter=$(func_parser_value "$(line 4)")
converter=${converter# }
inference_py=$(func_parser_value "$(line 11)")
onnx_key=$(func_parser_key "$(line 12)")
save_file=$(func_parser_value "$(line 8)")
PATH="$(dirname "$(command -v "$python")"):$PATH" # where the interpreter is, its tools are too

set_line() { # number: "key=value" of a config line
    func_set_params "$(func_parser_key "$(line "$1")")" "$(func_parser_value "$(line "$1")")"
}

start_steps "test_tipc/output/${model}/${MODE}" "$model"
status_log="${LOG_PATH}/results_paddle2onnx.log"
: > "$status_log"
rm -f "${LOG_PATH}/results_python.log" "$save_file"
convert() {
    run_step paddle2onnx convert "${LOG_PATH}/convert.log" "$(join_words "$converter" "$(set_line 5)" "$(set_line 6)" \
        "$(set_line 7)" "$(set_line 8)" "$(set_line 9)" "$(set_line 10)")" || return 1
    require_file paddle2onnx convert "$save_file" || return 1
    run_step paddle2onnx infer "${LOG_PATH}/infer.log" "$(join_words "$python" "$inference_py" \
        "$(func_set_params "$onnx_key" "$save_file")" "$(set_line 13)")"
}
convert
finish_steps
