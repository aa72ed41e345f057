#!/usr/bin/env bash
# Gathers the newest lines of the systemd journal or of a log file.
LC_ALL=C # the functions work on bytes
unit=${RUNE_PARAM_UNIT-} since=${RUNE_PARAM_SINCE-} path=${RUNE_PARAM_PATH-}
lines=${RUNE_PARAM_LINES:-200} max_bytes=${RUNE_PARAM_MAX_BYTES:-262144}
lines=${lines%.0} max_bytes=${max_bytes%.0} # to JSON Schema 200.0 is an integer, too

# From plugins/lib/json.sh:
# Sets REPLY to TEXT as a JSON string. Bytes that are not UTF-8 become U+FFFD; where they abound
# (over 64 in 2 KiB) the text is taken for binary and the good characters among them are lost too.
# shellcheck disable=SC2053,SC2295 # matching is what is wanted
json_encode() { # TEXT
  local block chunk valid one size block_at=0 at=0 length=${#1}
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

fail() { # CODE MESSAGE
  json_encode "$2"
  printf '{"error":{"code":%s,"message":%s}}\n' "$1" "$REPLY"
  exit "$1"
}

# Sets text to the end of what COMMAND writes, one byte more than is asked for, with its lines
# parted by \x02 (bash cannot split at newlines without losing empty lines) and without NUL.
gather() { # COMMAND...
  text=$(
    set -o pipefail
    "$@" 2>&1 | tail -c $((max_bytes + 1)) | tr '\n\002\000' '\002\377\377'
  )
}

source=''
if [[ ! $path ]] && type -P journalctl >/dev/null; then
  arguments=(--quiet --no-pager --utc --output=short-iso "--lines=$lines")
  [[ ! $unit ]] || arguments+=("--unit=$unit")
  [[ ! $since ]] || arguments+=("--since=$since")
  gather journalctl "${arguments[@]}" || fail 3 "journalctl says: ${text%%$'\x02'*}"
  if [[ $text || $(journalctl --no-pager --lines=0 2>&1) != *'No journal files'* ]]; then
    source=journal
  fi
fi
if [[ ! $source ]]; then
  if [[ ! $path ]]; then
    [[ ! $unit$since ]] || fail 2 'unit and since need the systemd journal, and this host has none'
    for path in /var/log/syslog /var/log/messages ''; do [[ ! -r $path ]] || break; done
    [[ $path ]] || fail 2 'this host has no journal and no readable /var/log/syslog: give a path'
  fi
  [[ $path != @(/proc|/sys)/* ]] || fail 1 "$path is no log: to read it waits or has effects"
  [[ -f $path && -r $path ]] || fail 2 "there is no file $path that this user may read"
  source=$path
  gather tail -n "$lines" -- "$path" || fail 3 "tail says: ${text%%$'\x02'*}"
fi

set -f
IFS=$'\x02'
# shellcheck disable=SC2206 # splitting is what is wanted
rows=($text)
bytes=${#text} truncated=false
if ((bytes > max_bytes)); then # the oldest line is not whole
  truncated=true
  if ((${#rows[@]} > 1)); then
    ((bytes -= ${#rows[0]} + 1))
    rows=("${rows[@]:1}")
  else
    text=${text: -max_bytes}
    rows=("${text%$'\x02'}")
    bytes=$max_bytes
  fi
fi

json_encode "$source"
printf '{"payload":{"result":"success","output_data":{"source":%s,"truncated":%s' \
  "$REPLY" "$truncated"
printf ',"bytes":%s,"lines":[' "$bytes"
comma=''
for row in "${rows[@]}"; do
  if [[ $row == *[![:print:]]* ]] || ((${#row} > 2048)); then
    json_encode "$row"
  else # most lines: short, no control character, nothing beyond ASCII
    row=${row//\\/\\\\}
    REPLY=\"${row//\"/\\\"}\"
  fi
  printf '%s%s' "$comma" "$REPLY"
  comma=,
done
printf ']}}}\n'
