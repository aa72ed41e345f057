# JSON for bash plugins, with bash 4.4 alone: no jq, no other process. A plugin travels to the host
# as one file, so copy what you need into it, with these two lines.
LC_ALL=C # the functions work on bytes
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
