#!/usr/bin/env bash
# Echoes input_parameters as output_data, byte for byte, without starting any other process.
LC_ALL=C # bytes, not characters: faster, and right for all of them
message=$(</dev/stdin)

# RUNE sends compact JSON. In it these two can only be keys, since a string would have a backslash
# before each of its quotes. Before the first there are only ids, so it is the one that is meant.
before='"payload":{"input_parameters":' after=',"context":'
head=${message:0:1024}
head=${head%%"$before"*}
tail=${message:${#head}+${#before}}
REPLY=${tail%"$after"*}
if [[ $message == '{"message_metadata":{'* && $REPLY == '{'* && $REPLY != *'"context":'* ]] &&
  ((${#head} < 1024 && ${#REPLY} < ${#tail})); then
  printf '{"payload":{"result":"success","output_data":%s}}\n' "$REPLY"
  exit
fi

# Another sender, or a key "context" elsewhere: read the message with care. From plugins/lib/json.sh:
shopt -s extglob
# Sets REPLY to the raw text of the member that the keys lead to; fails if there is none. TEXT is
# one JSON object. It is split at its quotes, so that strings and what lies between them take turns.
# shellcheck disable=SC2206 # splitting is what is wanted
json_cut() { # TEXT KEY...
  local IFS='"' part depth=1 matched=0 begin=-1 value='' string end after
  local -a parts opened closed
  local -
  set -f
  parts=($1)
  shift
  [[ ${parts[0]-} == *([[:space:]])'{'*([[:space:]]) ]] || return 1
  for ((string = 1; string < ${#parts[@]}; string = after + 1)); do
    end=$string # a string goes on over each quote that has an odd number of backslashes before it
    while part=${parts[end]##*[!\\]} && ((${#part} % 2)); do ((++end)); done
    ((after = end + 1))
    part=${parts[after]-}
    if ((begin >= 0)) && [[ ! $value ]]; then # the value is this string
      REPLY="${parts[*]:begin:after - begin}\""
      return 0
    fi
    if ((begin < 0 && depth <= $# && matched >= depth - 1)) && [[ $part == *([[:space:]]):* ]]; then
      matched=$((depth - 1))
      # by test, for which nocasematch means nothing
      if ((string == end)) && [ "${parts[string]}" = "${!depth}" ]; then matched=$depth; fi
      if ((matched == $#)); then
        value=${part#*:}
        while [[ $value == [[:space:]]* ]]; do value=${value:1}; done
        if [[ $value && $value != [\{\[]* ]]; then # a number, true, false or null
          REPLY=${value%%[,\}[:space:]]*}
          return 0
        fi
        part=$value begin=$after parts[after]=$value
      fi
    fi
    [[ $part == *[\{\}\[\]]* ]] || continue
    IFS='{['
    opened=($part.)
    IFS='}]'
    closed=($part.)
    IFS='"'
    depth=$((depth + ${#opened[@]} - ${#closed[@]})) # (()) fails on 0, which set -e would end
    if ((begin >= 0 && depth <= $#)) && [[ $value ]]; then # it closed, and $# - depth around it
      for ((; depth < $#; depth++)); do part=${part%[\}\]]*}; done
      value=${part%[\}\]]*}
      parts[after]=${part:0:${#value}+1}
      REPLY="${parts[*]:begin:after - begin + 1}"
      return 0
    fi
  done
  return 1
}

if json_cut "$message" payload input_parameters && [[ $REPLY == '{'* ]]; then
  printf '{"payload":{"result":"success","output_data":%s}}\n' "$REPLY"
else
  printf '{"error":{"code":1,"message":"the input has no object payload.input_parameters"}}\n'
  exit 1
fi
