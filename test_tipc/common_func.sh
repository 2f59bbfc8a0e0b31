#!/usr/bin/env bash
# Functions shared by the TIPC scripts. They read the config files of Paddle's TIPC by line number, as these have it,
# and differ from the original functions where those lose something: values keep their later colons, blank lines
# keep their place, CRLF files work, nothing is expanded to file names, and every failure reaches the exit status.

set -uo pipefail
set -f # a '*' in a config value is a '*'

fail() { # message...: say it and stop the script
    echo "TIPC: $*" >&2
    exit 1
}

read_config() { # file: fills the array `lines`, 0-based
    [[ -f "$1" ]] || fail "$1 does not exist; expected test_tipc/configs/<model>/<chain>.txt"
    mapfile -t lines < <(tr -d '\r' < "$1")
    config_file=$1
}

line() { # number: the text of a line, 1-based
    echo "${lines[$(($1 - 1))]:-}"
}

func_parser_key() { # "key:value" -> key
    echo "${1%%:*}"
}

func_parser_value() { # "key:value" -> value
    [[ "$1" == *:* ]] && echo "${1#*:}" || echo ""
}

func_parser_params() { # "key:modeA=1|modeB=2": the value of ${MODE}; a value without modes is for all of them
    local value part found=""
    value=$(func_parser_value "$1")
    [[ "$value" == *=* ]] || { echo "$value"; return 0; }
    local IFS="|"
    for part in $value; do
        [[ "${part%%=*}" == "$MODE" ]] && found=${part#*=}
    done
    [[ -n "$found" ]] || { echo "TIPC: ${config_file}: '$1' has no value for ${MODE}" >&2; return 1; }
    echo "$found"
}

func_set_params() { # key value: "key=value", or nothing if either is null or empty
    local key=$1 value=$2
    if [[ -n "$key" && "$key" != null && -n "$value" && "$value" != null ]]; then
        echo "${key}=${value}"
    fi
}

is_set() { # value: is it neither empty nor null nor a separator?
    [[ -n "$1" && "$1" != null && "$1" != "##" ]]
}

join_words() { # words...: those that are not empty, with single blanks
    local word text=""
    for word in "$@"; do
        [[ -n "$word" ]] && text+="${text:+ }$word"
    done
    echo "$text"
}

expect_section() { # line number, name: the section's title must stand there
    [[ "$(line "$1")" == *"$2"* ]] ||
        fail "${config_file}:$1 should be the title of $2 but is '$(line "$1")'; a line is missing or too many above it"
}

status_check() { # code command results_file model log: the line that TIPC's readers look for
    local text="Run successfully with command"
    [[ "$1" -eq 0 ]] || text="Run failed with command"
    printf '\033[33m %s - %s - %s - %s \033[0m\n' "$text" "$4" "$2" "$5" | tee -a "$3"
}

use_own_environment() { # prefer the repository's .venv, made by `make`, unless another one is active
    if [[ -z "${VIRTUAL_ENV:-}" && -x .venv/bin/python ]]; then
        export PATH="$PWD/.venv/bin:$PATH"
    fi
}

# --- steps: commands whose result is recorded ---------------------------------------------------------------------

start_steps() { # folder model: results of an earlier run go
    LOG_PATH=$1 model_name=$2 failures=0
    mkdir -p "$LOG_PATH"
    status_log="${LOG_PATH}/results_python.log"
    steps_file="${LOG_PATH}/steps.tsv"
    rm -f "$status_log" "$steps_file" "${LOG_PATH}/results.json"
    : > "$status_log"
    : > "$steps_file"
}

record() { # branch step status seconds log command
    local field text=""
    for field in "$@"; do
        text+="${text:+$'\t'}${field//$'\t'/ }"
    done
    echo "$text" >> "$steps_file"
    [[ "$3" != failed ]] || failures=$((failures + 1))
}

run_step() { # branch step log command: run it, its output into the log, its status into the records
    local branch=$1 step=$2 log=$3 command=$4 start=$SECONDS code=0
    echo "[$branch] $step: $command"
    (eval "$command") > "$log" 2>&1 < /dev/null || code=$?
    status_check "$code" "$command" "$status_log" "$model_name" "$log"
    if [[ "$code" -eq 0 ]]; then
        record "$branch" "$step" passed $((SECONDS - start)) "$log" "$command"
    else
        record "$branch" "$step" failed $((SECONDS - start)) "$log" "$command"
        echo "TIPC: exit status $code; the log $log ends with:" >&2
        tail -n 20 "$log" >&2
    fi
    return "$code"
}

require_file() { # branch step file: a step that succeeded must have written it
    [[ -f "$3" ]] && return 0
    echo "TIPC: the step before was expected to write $3" >&2
    record "$1" "$2" failed 0 "$3" "test -f $3"
    return 1
}

finish_steps() { # print the table, write results.json; the status says whether all steps passed
    local total
    total=$(wc -l < "$steps_file")
    echo
    awk -F'\t' '{ printf "%-8s %5s s  %-34s %s\n", $3, $4, $1, $2 }' "$steps_file"
    awk -F'\t' -v model="$model_name" -v mode="$MODE" '
        function quoted(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
        BEGIN { printf "{\"model\": %s, \"mode\": %s, \"steps\": [", quoted(model), quoted(mode) }
        { printf "%s\n {\"branch\": %s, \"step\": %s, \"status\": %s, \"seconds\": %d, \"log\": %s, \"command\": %s}",
              (NR > 1 ? "," : ""), quoted($1), quoted($2), quoted($3), $4, quoted($5), quoted($6) }
        END { print "\n]}" }' "$steps_file" > "${LOG_PATH}/results.json" || fail "results.json could not be written"
    echo "$((total - failures)) of $total steps passed or were skipped for a stated reason; ${LOG_PATH}/results.json"
    [[ "$failures" -eq 0 && "$total" -gt 0 ]]
}
