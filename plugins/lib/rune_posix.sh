# What a plugin in POSIX sh needs to talk to RUNE: no jq, no awk, no process but cat, date and subshells.
# Put "lib": ["rune_posix.sh"] into plugin.json and start the script with:  . "${0%/*}/rune_posix.sh"
# Functions answer in REPLY. Loading it reads stdin and makes the shell work on bytes (LC_ALL=C).
# Names that start with rune_ are the library's; it has no local variables, which POSIX lacks.
# shellcheck shell=sh disable=SC2034,SC2154 # what is set for the plugin to read, or by eval
LC_ALL=C
rune_request=$(cat)
rune_began=$(date +%s)
rune_nodes=0 rune_marks='[]{}:[]' rune_output='' rune_metrics=''
rune_newline='
'
rune_tab=$(printf '\t') rune_return=$(printf '\r')
rune_more=$(printf '[\200-\277]')
rune_two=$(printf '[\302-\337]') rune_e0=$(printf '\340[\240-\277]') rune_ed=$(printf '\355[\200-\237]')
rune_three=$(printf '[\341-\354\356\357]') rune_f0=$(printf '\360[\220-\277]')
rune_four=$(printf '[\361-\363]') rune_f4=$(printf '\364[\200-\217]')

# -- JSON text --------------------------------------------------------------------------------------

# Sets REPLY to the text of a JSON string. Fails with 2 if it has NUL, which a shell cannot keep.
# The text is built as a format of printf's %b, so that one subshell does for all escapes.
rune_decode() { # RAW
  REPLY=${1#?}
  REPLY=${REPLY%?}
  case $1 in
    *\\*) ;;
    *) return 0 ;;
  esac
  rune_rest=$REPLY rune_text='' rune_half=''
  while :; do
    rune_piece=${rune_rest%%\\*}
    if [ "$rune_half" ] && [ "$rune_piece" ]; then
      rune_text=$rune_text'\0357\0277\0275' rune_half=''
    fi
    rune_text=$rune_text$rune_piece
    [ "$rune_piece" != "$rune_rest" ] || break
    rune_rest=${rune_rest#"$rune_piece"?}
    case $rune_rest in
      u*)
        rune_hex=${rune_rest#u}
        rune_rest=${rune_hex#????}
        rune_code=$((0x${rune_hex%"$rune_rest"}))
        [ "$rune_code" != 0 ] || return 2
        if [ "$rune_half" ] && [ "$((rune_code & 0xfc00))" = 56320 ]; then
          rune_utf8 "$((0x10000 + (rune_half - 0xd800) * 0x400 + rune_code - 0xdc00))"
          rune_half=''
        else
          [ ! "$rune_half" ] || rune_text=$rune_text'\0357\0277\0275'
          rune_half=''
          case $((rune_code & 0xfc00)) in
            55296) rune_half=$rune_code ;;
            56320) rune_utf8 65533 ;;
            *) rune_utf8 "$rune_code" ;;
          esac
        fi
        continue
        ;;
    esac
    [ ! "$rune_half" ] || rune_text=$rune_text'\0357\0277\0275'
    rune_half=''
    case $rune_rest in
      [\"/]*) rune_text=$rune_text${rune_rest%"${rune_rest#?}"} ;;
      \\*) rune_text=$rune_text\\\\ ;;
      *) rune_text=$rune_text\\${rune_rest%"${rune_rest#?}"} ;; # b f n r t are printf's as well
    esac
    rune_rest=${rune_rest#?}
  done
  [ ! "$rune_half" ] || rune_text=$rune_text'\0357\0277\0275'
  REPLY=$(printf '%bx' "$rune_text") # the x keeps newlines at the end
  REPLY=${REPLY%x}
}

rune_utf8() { # CODE POINT: appends its bytes to rune_text, in octal
  if [ "$1" -lt 128 ]; then
    set -- "$1"
  elif [ "$1" -lt 2048 ]; then
    set -- "$((192 | $1 >> 6))" "$((128 | $1 & 63))"
  elif [ "$1" -lt 65536 ]; then
    set -- "$((224 | $1 >> 12))" "$((128 | $1 >> 6 & 63))" "$((128 | $1 & 63))"
  else
    set -- "$((240 | $1 >> 18))" "$((128 | $1 >> 12 & 63))" "$((128 | $1 >> 6 & 63))" \
      "$((128 | $1 & 63))"
  fi
  for rune_byte; do
    rune_text=$rune_text\\0$((rune_byte >> 6))$((rune_byte >> 3 & 7))$((rune_byte & 7))
  done
}

# Sets REPLY to TEXT as a JSON string; each byte that is in no character becomes U+FFFD.
rune_encode() { # TEXT
  REPLY='' rune_rest=$1
  while [ "$rune_rest" ]; do
    rune_piece=${rune_rest%%[!\ !#-Z\[\]^-~]*}
    REPLY=$REPLY$rune_piece
    rune_rest=${rune_rest#"$rune_piece"}
    case $rune_rest in
      '') break ;;
      \\*) REPLY=$REPLY\\\\ rune_next=${rune_rest#?} ;;
      \"*) REPLY=$REPLY'\"' rune_next=${rune_rest#?} ;;
      "$rune_newline"*) REPLY=$REPLY'\n' rune_next=${rune_rest#?} ;;
      "$rune_tab"*) REPLY=$REPLY'\t' rune_next=${rune_rest#?} ;;
      "$rune_return"*) REPLY=$REPLY'\r' rune_next=${rune_rest#?} ;;
      $rune_two$rune_more*) rune_copy '??' ;;
      $rune_e0$rune_more* | $rune_ed$rune_more*) rune_copy '???' ;;
      $rune_three$rune_more$rune_more*) rune_copy '???' ;;
      $rune_f0$rune_more$rune_more* | $rune_f4$rune_more$rune_more*) rune_copy '????' ;;
      $rune_four$rune_more$rune_more$rune_more*) rune_copy '????' ;;
      [[:cntrl:]]*)
        rune_next=${rune_rest#?}
        REPLY=$REPLY$(printf '\\u%04x' "'${rune_rest%"$rune_next"}")
        ;;
      *) REPLY=$REPLY'\ufffd' rune_next=${rune_rest#?} ;;
    esac
    rune_rest=$rune_next
  done
  REPLY=\"$REPLY\"
}

rune_copy() { # PATTERN of as many ? as the character has bytes
  # shellcheck disable=SC2295 # matching is what is wanted
  rune_next=${rune_rest#$1}
  REPLY=$REPLY${rune_rest%"$rune_next"}
}

# -- reading ----------------------------------------------------------------------------------------

# Gives each value of the request a number and keeps it in variables of that number: rune_type_N,
# rune_raw_N (a scalar's JSON), rune_name_N (its key's raw text, or its index), rune_kids_N. They are set by
# eval, which sees numbers and the names of variables and never a byte of the request.
rune_parse() {
  rune_flags=$- rune_ifs=${IFS-} rune_unset=${IFS+no} # the plugin's, and so again afterwards
  set -f
  rune_split && rune_status=0 || rune_status=1
  case $rune_flags in *f*) ;; *) set +f ;; esac
  if [ "$rune_unset" ]; then IFS=$rune_ifs; else unset IFS; fi
  return "$rune_status"
}

rune_split() { # the request, under set -f
  rune_top='' rune_string='' rune_want=value
  IFS='"'
  # shellcheck disable=SC2086 # splitting is what is wanted
  set -- $rune_request
  IFS=' '
  for rune_part; do # strings and what lies between them take turns
    if [ "$rune_string" ]; then
      [ "$rune_string" = starts ] && rune_value=$rune_part || rune_value=$rune_value\"$rune_part
      rune_slashes=${rune_part##*[!\\]}
      if [ "$((${#rune_slashes} % 2))" = 1 ]; then
        rune_string=longer
      else
        rune_string=''
        rune_token \" || return 1
      fi
    else
      rune_string=starts
      rune_cut "$rune_part" || return 1
    fi
  done
  [ "$rune_want" = end ]
}

rune_cut() { # TEXT between two strings, into its punctuation and scalars
  IFS=,
  rune_rest=$1,. # only what comes out of a variable is split
  # shellcheck disable=SC2086
  set -- $rune_rest
  IFS=" $rune_newline$rune_tab$rune_return"
  while [ "$#" -gt 1 ]; do
    rune_rest=$1
    while :; do
      # shellcheck disable=SC2295 # matching is what is wanted
      rune_piece=${rune_rest%%$rune_marks*}
      for rune_word in $rune_piece; do rune_token "$rune_word" || return 1; done
      rune_rest=${rune_rest#"$rune_piece"}
      [ "$rune_rest" ] || break
      rune_token "${rune_rest%"${rune_rest#?}"}" || return 1
      rune_rest=${rune_rest#?}
    done
    shift
    [ "$#" = 1 ] || rune_token , || return 1
  done
}

rune_token() { # TOKEN; \" is the string in rune_value
  case $rune_want$1 in
    key\" | first_key\") rune_name=$rune_value rune_want=colon && return ;;
    colon:) rune_want=value && return ;;
    comma,)
      eval "rune_kind=\$rune_type_$rune_top"
      [ "$rune_kind" = object ] && rune_want=key || rune_want=value
      return 0
      ;;
    comma[]\}] | first_key\} | first_value\])
      eval "rune_kind=\$rune_type_$rune_top rune_top=\$rune_up_$rune_top"
      case $rune_kind$1 in
        object\} | array\]) ;;
        *) return 1 ;;
      esac
      [ "$rune_top" ] && rune_want=comma || rune_want=end
      return 0
      ;;
    value* | first_value*) ;;
    *) return 1 ;;
  esac
  rune_raw=$1
  case $1 in
    \{) rune_kind=object ;;
    \[) rune_kind=array rune_raw=0 ;;
    \") rune_kind=string rune_raw=\"$rune_value\" ;;
    true | false) rune_kind=boolean ;;
    null) rune_kind=null ;;
    -[0-9]* | [0-9]*) rune_kind=number ;;
    *) return 1 ;;
  esac
  rune_nodes=$((rune_nodes + 1))
  eval "rune_type_$rune_nodes=\$rune_kind rune_raw_$rune_nodes=\$rune_raw rune_kids_$rune_nodes="
  if [ "$rune_top" ]; then
    eval "rune_kind=\$rune_type_$rune_top"
    if [ "$rune_kind" = array ]; then
      eval "rune_name=\$rune_raw_$rune_top rune_raw_$rune_top=\$((rune_raw_$rune_top + 1))"
    fi
    eval "rune_name_$rune_nodes=\$rune_name rune_kids_$rune_top=\"\$rune_kids_$rune_top $rune_nodes\""
  fi
  rune_want=comma
  case $1 in
    \{) rune_want=first_key ;;
    \[) rune_want=first_value ;;
    *)
      [ "$rune_top" ] || rune_want=end
      return 0
      ;;
  esac
  eval "rune_up_$rune_nodes=\$rune_top"
  rune_top=$rune_nodes
}

rune_find() { # KEY...: sets REPLY to the number of a value in the request; an index is a key
  if [ "$rune_nodes" = 0 ]; then
    rune_type_1=''
    rune_parse || rune_type_1=''
    [ "$rune_type_1" = object ] || rune_fail 1 'what stands on stdin is not one JSON object'
  fi
  rune_node=1
  for rune_step; do
    eval "eval \"set -- \$rune_kids_$rune_node\"" # read as code, for which IFS means nothing
    rune_node=''
    for rune_kid; do
      eval "REPLY=\$rune_name_$rune_kid"
      case $REPLY in
        *\\*) rune_decode "\"$REPLY\"" ;;
      esac
      [ "$REPLY" != "$rune_step" ] || rune_node=$rune_kid
    done
    [ "$rune_node" ] || return 1
  done
  REPLY=$rune_node
}

rune_write() { # NUMBER: appends its JSON to REPLY
  eval "rune_kind=\$rune_type_$1 rune_raw=\$rune_raw_$1 rune_kids=\$rune_kids_$1"
  case $rune_kind in
    object)
      REPLY="$REPLY{"
      eval "set -- $rune_kids"
      for rune_kid; do
        eval "REPLY=\"\$REPLY\\\"\$rune_name_$rune_kid\\\":\""
        rune_write "$rune_kid"
        REPLY=$REPLY,
      done
      REPLY="${REPLY%,}}"
      ;;
    array)
      REPLY="${REPLY}["
      eval "set -- $rune_kids"
      for rune_kid; do
        rune_write "$rune_kid"
        REPLY=$REPLY,
      done
      REPLY="${REPLY%,}]"
      ;;
    *) REPLY=$REPLY$rune_raw ;;
  esac
}

# -- parameters; KEY... leads into objects and, by index from 0, into arrays ------------------------

rune_type() { # KEY...: REPLY is string, number, boolean, null, object, array or missing
  rune_find payload input_parameters "$@" && eval "REPLY=\$rune_type_$REPLY" || REPLY=missing
}

rune_json() { # KEY...: REPLY is the value as JSON; fails if it is missing
  rune_find payload input_parameters "$@" || return
  set -- "$REPLY"
  REPLY=
  rune_write "$1"
}

# REPLY is the text of a string, a number's digits, true or false, or the JSON of an object or array.
# Fails with 1 if it is missing or null, with 2 if it is a text with NUL, which a shell cannot keep.
rune_param() { # KEY...
  rune_json "$@" || return
  rune_text
}

rune_text() { # Turns REPLY from the JSON of a value into its text; fails with 1 if it is null.
  case $REPLY in
    null) return 1 ;;
    \"*) rune_decode "$REPLY" ;;
  esac
}

rune_count() { # KEY...: REPLY is how many members an object or items an array has; fails if missing
  rune_find payload input_parameters "$@" || return
  eval "eval \"set -- \$rune_kids_$REPLY\""
  REPLY=$#
}

rune_key() { # INDEX KEY...: REPLY is the key of that member, from 0, of the object that KEY... leads to
  rune_index=$1
  shift
  rune_find payload input_parameters "$@" || return
  eval "eval \"set -- \$rune_kids_$REPLY\""
  [ "$rune_index" -lt "$#" ] || return
  shift "$rune_index"
  eval "REPLY=\$rune_name_$1"
  rune_decode "\"$REPLY\""
}

rune_context() { # KEY: REPLY is target, action, run_id, attempt, deadline or timeout_s
  rune_find payload context "$1" || return
  eval "REPLY=\$rune_raw_$REPLY"
  rune_text
}

rune_left() { # REPLY is the whole seconds left until the host ends the plugin; fails if nobody said
  rune_context timeout_s || return
  REPLY=$((${REPLY%%[.eE]*} - $(date +%s) + rune_began))
  [ "$REPLY" -gt 0 ] || REPLY=0
}

# -- the answer -------------------------------------------------------------------------------------

rune_put() { # NAME TEXT: puts a string into output_data
  rune_encode "$2"
  rune_put_json "$1" "$REPLY"
}

rune_put_json() { # NAME JSON: puts any value into output_data
  rune_encode "$1"
  rune_output="$rune_output,$REPLY:$2"
}

# Adds to output_data.metrics and tells RUNE at once. BETTER is higher or lower.
rune_metric() { # NAME VALUE UNIT BETTER [LABEL=TEXT]... [-- SAMPLE...]
  rune_encode "$1"
  rune_one="\"name\":$REPLY,\"value\":$2"
  rune_encode "$3"
  rune_one="$rune_one,\"unit\":$REPLY,\"better\":\"$4\"" rune_labels='' rune_samples=''
  shift 4
  while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
    rune_encode "${1%%=*}"
    rune_labels="$rune_labels,$REPLY:"
    rune_encode "${1#*=}"
    rune_labels="$rune_labels$REPLY"
    shift
  done
  [ ! "$rune_labels" ] || rune_one="$rune_one,\"labels\":{${rune_labels#,}}"
  printf '##rune {"kind":"metric",%s}\n' "$rune_one" >&2
  if [ "$#" -gt 1 ]; then
    shift
    for rune_sample; do rune_samples=$rune_samples,$rune_sample; done
    rune_one="$rune_one,\"samples\":[${rune_samples#,}]"
  fi
  rune_metrics="$rune_metrics,{$rune_one}"
}

rune_progress() { # PERCENT [MESSAGE]; PERCENT may be empty
  rune_one="${1:+,\"percent\":$1}"
  [ ! "${2-}" ] || { rune_encode "$2" && rune_one="$rune_one,\"message\":$REPLY"; }
  printf '##rune {"kind":"progress"%s}\n' "$rune_one" >&2
}

rune_log() { # debug|info|warning|error TEXT
  rune_encode "$2"
  printf '##rune {"kind":"log","level":"%s","message":%s}\n' "$1" "$REPLY" >&2
}

rune_success() { # Answers with what was put, and the metrics, and exits.
  [ ! "$rune_metrics" ] || rune_output="$rune_output,\"metrics\":[${rune_metrics#,}]"
  printf '{"payload":{"result":"success","output_data":{%s}}}\n' "${rune_output#,}"
  exit 0
}

rune_fail() { # CODE MESSAGE [DETAILS [RETRYABLE]]: DETAILS is a JSON object, CODE the exit status
  rune_encode "$2"
  printf '{"error":{"code":%s,"message":%s%s%s}}\n' "$1" "$REPLY" "${3:+,\"details\":$3}" \
    "${4:+,\"retryable\":$4}"
  exit "$1"
}
