#!/usr/bin/env bash
# Make the data that a TIPC config needs. Nothing is downloaded: the miniatures come from a seeded generator.
#
#   bash test_tipc/prepare.sh CONFIG MODE
#
# Running it again checks what is there and does nothing if it is whole.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source test_tipc/common_func.sh

[[ $# -ge 2 ]] || fail "usage: prepare.sh CONFIG MODE"
read_config "$1"
MODE=$2
use_own_environment
model=$(func_parser_value "$(line 2)")
python=$(func_parser_value "$(line 3)")

make_data() { # layout: FOLDER and, with three of its clips for inference, FOLDER_infer
    $python test_tipc/lite_data.py "$1" "test_tipc/data/$1" --seed 0 || fail "the miniature of $1 could not be made"
}

case "$model" in
    mvf | mvf_ucf101) layout=ucf101 ;;
    actionclip | xclip) layout=colour_motion ;;
    dff) layout=cityscapes ;;
    mivos_propagation | mivos_fusion | mivos_s2m) layout=davis ;;
    avs_resnet50 | avs_pvt) layout=avsbench ;;
    *) fail "no data is known for model '$model' ($1:2)" ;;
esac
case "$MODE" in
    lite_train_lite_infer | lite_train_whole_infer | paddle2onnx_infer | benchmark_train) make_data "$layout" ;;
    whole_train_whole_infer)
        folder=$(func_parser_value "$(line 13)")
        [[ -d "$folder" ]] || fail "mode $MODE trains on the full data set: put it at $folder (line 13 of $1)" ;;
    whole_infer)
        IFS="|" read -ra models <<< "$(func_parser_value "$(line 37)")"
        for file in "${models[@]}"; do
            [[ -e "$file" ]] || fail "mode $MODE needs the weights '$file' of $1:37; none are published with this project"
        done
        clips=$(func_parser_value "$(line 48)")
        if [[ "$clips" == test_tipc/data/* ]]; then
            make_data "$layout"
        elif [[ ! -e "$clips" ]]; then
            fail "mode $MODE reads clips from '$clips' (line 48 of $1): put some there"
        fi ;;
    *) fail "unknown mode $MODE" ;;
esac
if [[ "$model" == mivos_fusion ]]; then # the fusion is trained beside a propagation network
    $python test_tipc/mivos_weights.py test_tipc/data/davis_weights/propagation.pdparams \
        || fail "the untrained propagation network could not be written"
fi
