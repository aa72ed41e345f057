#!/usr/bin/env bash
# Restarts a systemd service and watches whether it stays up.
export LC_ALL=C TZ=UTC SYSTEMD_PAGER='' SYSTEMD_COLORS=0

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

fail() { # CODE MESSAGE [DETAILS]
  json_encode "$2"
  printf '{"error":{"code":%s,"message":%s,"details":{%s}}}\n' "$1" "$REPLY" "${3-}"
  exit "$1"
}

# Fills unit with what systemd knows of the service.
declare -A unit
look() {
  local line
  unit=()
  while IFS= read -r line; do
    unit[${line%%=*}]=${line#*=}
  done < <(exec systemctl show --property=LoadState,ActiveState,SubState,Type,Result \
    --property=MainPID,ActiveEnterTimestamp -- "$service" 2>&1)
  pid=${unit[MainPID]-0}
  state=${unit[ActiveState]-}
  # a service that only runs once is done when it has succeeded
  [[ ${unit[Type]-} != oneshot || ${unit[Result]-} != success ]] || state=active
}

# Sets REPLY to the JSON members that describe the service.
describe() {
  local members='' name day clock
  for name in active_state=ActiveState sub_state=SubState result=Result; do
    json_encode "${unit[${name#*=}]-}"
    members+="\"${name%=*}\":$REPLY,"
  done
  read -r _ day clock _ <<<"${unit[ActiveEnterTimestamp]-}" # Tue 2026-01-13 12:00:00 UTC
  [[ ! $clock ]] || clock=\"${day}T${clock}Z\"
  REPLY="$members\"main_pid\":$pid,\"previous_main_pid\":$old_pid,\"since\":${clock:-null}"
  REPLY=${REPLY//pid\":0,/pid\":null,}
}

type -P systemctl >/dev/null || fail 2 'this host has no systemctl: it does not run systemd'
service=$RUNE_PARAM_SERVICE wait_s=${RUNE_PARAM_WAIT_S:-2}
wait_s=${wait_s%.0} # to JSON Schema 2.0 is an integer, too
look
if [[ ! ${unit[LoadState]-} ]]; then
  answer=$(systemctl is-system-running 2>&1)
  fail 2 "systemd does not answer on this host: ${answer%%$'\n'*}"
elif [[ ${unit[LoadState]} == not-found ]]; then
  fail 2 "this host has no service $service"
fi
old_pid=$pid

if complaint=$(systemctl --no-ask-password restart -- "$service" 2>&1); then
  problem=''
  look
  new_pid=$pid
  for ((i = wait_s * 4; i > 0; i--)); do
    [[ $state != failed && $pid == "$new_pid" ]] || break
    sleep 0.25
    look
  done
  if [[ $state != active ]]; then
    problem="$service was restarted but is $state"
  elif [[ $pid != "$new_pid" ]]; then
    problem="$service does not stay up: systemd has started it again"
  fi
else
  look
  problem="systemctl could not restart $service: ${complaint%%$'\n'*}"
fi

describe
if [[ $problem ]]; then
  details=$REPLY
  journal=$(journalctl --quiet --no-pager --output=short-iso --lines=50 --unit="$service" 2>&1)
  json_encode "$complaint" && details+=",\"systemctl\":$REPLY"
  ((${#journal} <= 16384)) || journal=${journal: -16384}
  json_encode "$journal" && details+=",\"journal\":$REPLY"
  fail 3 "$problem" "$details"
fi
printf '{"payload":{"result":"success","output_data":{%s}}}\n' "$REPLY"
