# What a bash plugin needs to talk to RUNE, with bash 4.4 alone: no jq, no python3, no process.
# Put "lib": ["rune.sh"] into plugin.json and start the script with:  . "${0%/*}/rune.sh"
# Functions answer in REPLY. Loading it reads stdin and makes bash work on bytes (LC_ALL=C).
# shellcheck disable=SC2034 # what is set for the plugin to read
LC_ALL=C
shopt -s extglob
SECONDS=0
rune_request=$(</dev/stdin)

# -- JSON text ------------------------------------------------------------------------------------

# Sets REPLY to the text of a raw JSON string; fails if it holds \u0000, which bash cannot keep.
# shellcheck disable=SC2141,SC2206 # splitting is what is wanted
json_decode() { # RAW
  local IFS=\\ part i code low bytes
  local -a parts
  local -
  set -f
  parts=(${1:1:${#1}-2})
  for ((i = 1; i < ${#parts[@]}; i++)); do
    part=${parts[i]}
    case $part in
      '') # the backslash itself; what comes after it is no escape
        parts[i]=\\
        ((++i))
        ;;
      n*) parts[i]=$'\n'${part:1} ;;
      t*) parts[i]=$'\t'${part:1} ;;
      r*) parts[i]=$'\r'${part:1} ;;
      b*) parts[i]=$'\b'${part:1} ;;
      f*) parts[i]=$'\f'${part:1} ;;
      u*)
        code=$((16#${part:1:4})) low=${parts[i + 1]-}
        if ((code >= 0xd800 && code < 0xdc00)) && [[ ${#part} == 5 && $low == u[dD][c-fC-F]* ]]; then
          ((code = 0x10000 + (code - 0xd800) * 0x400 + 16#${low:1:4} - 0xdc00))
          parts[i]=
          part=${parts[++i]}
        elif ((code >= 0xd800 && code < 0xe000)); then
          code=0xfffd # half of a pair
        fi
        if ((code == 0)); then
          return 1
        elif ((code < 0x80)); then
          printf -v bytes '\\x%02x' "$code"
        elif ((code < 0x800)); then
          printf -v bytes '\\x%02x' $((0xc0 | code >> 6)) $((0x80 | code & 63))
        elif ((code < 0x10000)); then
          printf -v bytes '\\x%02x' $((0xe0 | code >> 12)) $((0x80 | code >> 6 & 63)) \
            $((0x80 | code & 63))
        else
          printf -v bytes '\\x%02x' $((0xf0 | code >> 18)) $((0x80 | code >> 12 & 63)) \
            $((0x80 | code >> 6 & 63)) $((0x80 | code & 63))
        fi
        printf -v bytes '%b' "$bytes"
        parts[i]=$bytes${part:5}
        ;;
    esac
  done
  IFS=
  REPLY="${parts[*]}"
}

# Sets REPLY to TEXT as a JSON string. Bytes that are not UTF-8 become U+FFFD; where they abound
# (over 64 in 2 KiB) the text is taken for binary and the good characters among them are lost too.
# shellcheck disable=SC2053,SC2295 # matching is what is wanted
json_encode() { # TEXT
  local block='' chunk valid one size block_at=0 at=0 length=${#1}
  local high=$'[\x80-\xff]' low=$'[\x01-\x7f]' more=$'[\x80-\xbf]'
  local -a dots=(.. ... ... ... .... .... ....) characters=( # as RFC 3629 has them
    $'[\xc2-\xdf]'"$more" $'\xe0[\xa0-\xbf]'"$more" $'[\xe1-\xec\xee\xef]'"$more$more"
    $'\xed[\x80-\x9f]'"$more" $'\xf0[\x90-\xbf]'"$more$more" $'[\xf1-\xf3]'"$more$more$more"
    $'\xf4[\x80-\x8f]'"$more$more"
  )
  REPLY='"'
  # Cutting and replacing cost the length of the text each time, so blocks are cut into chunks,
  # none of which may end within a character.
  while ((at < ${#block} || block_at < length)); do
    if ((at >= ${#block})); then
      block=${1:block_at:65536} at=0
      ((block_at += 65536))
      for ((size = 0; size < 3; size++)); do
        [[ $block == *$high && ${1:block_at:1} == $more ]] || break
        block+=${1:block_at++:1}
      done
    fi
    chunk=${block:at:2048}
    ((at += 2048))
    for ((size = 0; size < 3; size++)); do
      [[ $chunk == *$high && ${block:at:1} == $more ]] || break
      chunk+=${block:at++:1}
    done
    chunk=${chunk//\\/\\\\}
    chunk=${chunk//\"/\\\"}
    if [[ $chunk == *[[:cntrl:]]* ]]; then
      chunk=${chunk//$'\n'/\\n}
      chunk=${chunk//$'\t'/\\t}
      chunk=${chunk//$'\r'/\\r}
      while valid=${chunk%%[[:cntrl:]]*} && ((${#valid} < ${#chunk})); do
        one=${chunk:${#valid}:1}
        printf -v valid '\\u%04x' "'$one"
        chunk=${chunk//"$one"/"$valid"}
      done
    fi
    if [[ $chunk == *$high* ]]; then
      valid=$chunk # as long as chunk, with its good characters dotted out
      for one in "${!characters[@]}"; do valid=${valid//${characters[one]}/${dots[one]}}; done
      one=${valid//$low/}
      if ((${#one} > 64)); then
        chunk=${chunk//$high/\\ufffd}
      elif [[ $one ]]; then
        while one=${valid%%$high*} && ((${#one} < ${#valid})); do
          valid=$one.${valid:${#one}+1}
          chunk=${chunk:0:${#one}}$'\x02'${chunk:${#one}+1}
        done
        chunk=${chunk//$'\x02'/\\ufffd}
      fi
    fi
    REPLY+=$chunk
  done
  REPLY+='"'
}

# -- reading ---------------------------------------------------------------------------------------

# The request as a tree. Of node N: rune_type[N], rune_raw[N] (a scalar's own JSON), rune_name[N] (its key
# as JSON has it), rune_key[N] (the key's text), rune_kids[N]; rune_child[N/KEY] leads down.
declare -a rune_type=() rune_raw=() rune_name=() rune_key=() rune_kids=()
declare -A rune_child=()

# Splits the request at its quotes: strings go aside, what is between them is cut at its punctuation,
# so that the work grows with the text's length and not with its square.
# shellcheck disable=SC2206 # splitting is what is wanted
rune_parse() {
  local IFS='"' token want=value name='' key='' string part at id top=-1 next=0
  local -a parts strings=() outside up=() tokens
  local -
  set -f
  parts=($rune_request.)
  outside=("${parts[0]}")
  for ((at = 1; at + 1 < ${#parts[@]}; at += 2)); do
    string=${parts[at]} part=$string # it goes on over each quote with an odd number of \ before it
    while [[ ${part: -1} == \\ ]] && part=${part##*[!\\]} && ((${#part} % 2)); do
      part=${parts[++at]-}
      string+=\"$part
    done
    strings+=("$string") outside+=("${parts[at + 1]-}")
  done
  string="${outside[*]}" # a quote now stands for a string
  string=${string%.}
  for token in '{' '}' '[' ']' ',' : '"'; do string=${string//"$token"/ $token }; done
  IFS=$' \t\r\n'
  tokens=($string)
  for token in "${tokens[@]}"; do
    case $want$token in
      key\" | first_key\")
        name=${strings[next++]} want=colon
        key=$name
        [[ $name != *\\* ]] || { json_decode "\"$name\"" && key=$REPLY; }
        continue
        ;;
      colon:) want=value && continue ;;
      comma,)
        if [[ ${rune_type[top]} == object ]]; then want=key; else want=value; fi
        continue
        ;;
      comma[]\}] | first_key\} | first_value\])
        [[ ${rune_type[top]}$token == @(object\}|array\]) ]] || return 1
        top=${up[top]} want=comma
        ((top >= 0)) || want=end
        continue
        ;;
      value* | first_value*) ;;
      *) return 1 ;;
    esac
    id=${#rune_type[@]}
    if ((top >= 0)); then
      if [[ ${rune_type[top]} == array ]]; then
        key=${rune_raw[top]} name=
        ((++rune_raw[top]))
      fi
      rune_child["$top/$key"]=$id rune_kids[top]+=" $id"
      rune_name[id]=$name rune_key[id]=$key
    fi
    rune_raw[id]=$token want=comma
    case $token in
      \") rune_type[id]=string rune_raw[id]="\"${strings[next++]}\"" ;;
      \{) rune_type[id]=object up[id]=$top top=$id want=first_key ;;
      \[) rune_type[id]=array up[id]=$top top=$id want=first_value rune_raw[id]=0 ;;
      true | false) rune_type[id]=boolean ;;
      null) rune_type[id]=null ;;
      ?(-)@(0|[1-9]*([0-9]))?(.+([0-9]))?([eE]?([-+])+([0-9]))) rune_type[id]=number ;;
      *) return 1 ;;
    esac
    ((top >= 0)) || want=end
  done
  [[ $want == end && ${rune_type[0]} == object ]]
}

rune_find() { # KEY...: sets REPLY to the node that the keys lead to from the request; an index is a key
  local node=0 key
  if ((${#rune_type[@]} == 0)) && ! rune_parse; then
    rune_fail 1 'what stands on stdin is not one JSON object'
  fi
  for key; do
    node=${rune_child["$node/$key"]-}
    [[ $node ]] || return 1
  done
  REPLY=$node
}

rune_write() { # NODE: appends its JSON to REPLY
  local kid comma=''
  case ${rune_type[$1]} in
    object)
      REPLY+='{'
      for kid in ${rune_kids[$1]-}; do
        REPLY+="$comma\"${rune_name[kid]}\":"
        rune_write "$kid"
        comma=,
      done
      REPLY+='}'
      ;;
    array)
      REPLY+='['
      for kid in ${rune_kids[$1]-}; do
        REPLY+=$comma
        rune_write "$kid"
        comma=,
      done
      REPLY+=']'
      ;;
    *) REPLY+=${rune_raw[$1]} ;;
  esac
}

# -- parameters; KEY... leads into objects and, by index from 0, into arrays -------------------

rune_type() { # KEY...: REPLY is string, number, boolean, null, object, array or missing
  if rune_find payload input_parameters "$@"; then REPLY=${rune_type[REPLY]}; else REPLY=missing; fi
}

rune_json() { # KEY...: REPLY is the value as JSON; fails if it is missing
  rune_find payload input_parameters "$@" || return
  local node=$REPLY IFS=' '
  REPLY=
  rune_write "$node"
}

# REPLY is the text of a string, a number's digits, true or false, or the JSON of an object or array.
# Fails with 1 if it is missing or null, with 2 if it is a text with NUL, which bash cannot keep.
rune_param() { # KEY...
  rune_find payload input_parameters "$@" || return
  case ${rune_type[REPLY]} in
    null) return 1 ;;
    object | array) rune_json "$@" ;;
    *) rune_text "${rune_raw[REPLY]}" ;;
  esac
}

rune_text() { # RAW: REPLY is the text of a JSON string or another scalar; fails with 2 on NUL
  case $1 in
    \"*\\*) json_decode "$1" || return 2 ;;
    \"*) REPLY=${1:1:${#1}-2} ;;
    *) REPLY=$1 ;;
  esac
}

rune_keys() { # KEY...: rune_replies are an object's keys or an array's indices
  local kid IFS=' '
  rune_replies=()
  rune_find payload input_parameters "$@" || return
  for kid in ${rune_kids[REPLY]-}; do rune_replies+=("${rune_key[kid]}"); done
}

rune_context() { # KEY: REPLY is target, action, run_id, attempt, deadline or timeout_s
  rune_find payload context "$1" && rune_text "${rune_raw[REPLY]}"
}

rune_left() { # REPLY is the whole seconds left until the host ends the plugin; fails if nobody said
  rune_context timeout_s || return
  REPLY=$((${REPLY%%[.eE]*} - SECONDS))
  ((REPLY > 0)) || REPLY=0
}

# -- the answer ---------------------------------------------------------------------------------

rune_output='' rune_metrics=''

rune_put() { # NAME TEXT: puts a string into output_data
  json_encode "$2"
  rune_put_json "$1" "$REPLY"
}

rune_put_json() { # NAME JSON: puts any value into output_data
  json_encode "$1"
  rune_output+=",$REPLY:$2"
}

# Adds to output_data.metrics and tells RUNE at once. BETTER is higher or lower.
rune_metric() { # NAME VALUE UNIT BETTER [LABEL=TEXT]... [-- SAMPLE...]
  local text labels='' samples name
  json_encode "$1"
  text="\"name\":$REPLY,\"value\":$2"
  json_encode "$3"
  text+=",\"unit\":$REPLY,\"better\":\"$4\""
  shift 4
  while (($#)) && [[ $1 != -- ]]; do
    json_encode "${1%%=*}"
    name=$REPLY
    json_encode "${1#*=}"
    labels+=",$name:$REPLY"
    shift
  done
  [[ ! $labels ]] || text+=",\"labels\":{${labels:1}}"
  printf '##rune {"kind":"metric",%s}\n' "$text" >&2
  if (($# > 1)); then
    printf -v samples ',%s' "${@:2}"
    text+=",\"samples\":[${samples:1}]"
  fi
  rune_metrics+=",{$text}"
}

rune_progress() { # PERCENT [MESSAGE]; PERCENT may be empty
  local text=''
  [[ ! ${1-} ]] || text=",\"percent\":$1"
  [[ ! ${2-} ]] || { json_encode "$2" && text+=",\"message\":$REPLY"; }
  printf '##rune {"kind":"progress"%s}\n' "$text" >&2
}

rune_log() { # debug|info|warning|error TEXT
  json_encode "$2"
  printf '##rune {"kind":"log","level":"%s","message":%s}\n' "$1" "$REPLY" >&2
}

rune_success() { # Answers with what was put, and the metrics, and exits.
  [[ ! $rune_metrics ]] || rune_output+=",\"metrics\":[${rune_metrics:1}]"
  printf '{"payload":{"result":"success","output_data":{%s}}}\n' "${rune_output:1}"
  exit 0
}

rune_fail() { # CODE MESSAGE [DETAILS [RETRYABLE]]: DETAILS is a JSON object, CODE the exit status
  json_encode "$2"
  printf '{"error":{"code":%s,"message":%s%s%s}}\n' "$1" "$REPLY" "${3:+,\"details\":$3}" \
    "${4:+,\"retryable\":$4}"
  exit "$1"
}
