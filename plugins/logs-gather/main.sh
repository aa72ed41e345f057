#!/usr/bin/env bash
# Fetches the newest lines of the journal, of the system log or of a file, within two caps.

# shellcheck source=/dev/null
. "${0%/*}/rune.sh"

# Sets REPLY to a parameter that is a whole number, which JSON may also write as 200.0.
whole_number() { # NAME DEFAULT LEAST MOST
  local variable=RUNE_PARAM_${1^^}
  REPLY=${!variable-$2}
  REPLY=${REPLY%.0}
  if [[ ! $REPLY =~ ^[0-9]{1,9}$ ]] || ((REPLY = 10#$REPLY, REPLY < $3 || REPLY > $4)); then
    rune_fail 1 "$1 must be a whole number from $3 to $4: ${!variable}"
  fi
}

# Prints the end of stdin: a byte and a line more than wanted, which tell that something is left
# out. Between the lines stands a byte that UTF-8 never has, and another one for NUL.
newest() {
  tail -c $((max_bytes + 1)) | tail -n $((lines + 1)) | tr '\n\000\377' '\377\376\376'
}

read_file() { # PATH
  local real
  [[ -e $1 ]] || rune_fail 2 "there is no file $1, or a folder on the way may not be entered"
  real=$(realpath -e -- "$1")
  # Some of these look like files, such as /proc/kmsg, but to read them waits or has effects.
  if [[ ! -f $1 || $real == /proc/* || $real == /sys/* ]]; then
    rune_fail 1 "$1 is not a regular file"
  fi
  [[ -r $1 ]] || rune_fail 2 "$1 may not be read by $(id -un)"
  text=$(set -o pipefail && newest <"$1") || rune_fail 3 "$1 could not be read to its end"
  origin=$1
}

# Sets text to the end of the journal; fails with the exit code in code and the reason in problem.
read_journal() {
  local -a what=(--no-pager --all --output=short-iso)
  code=2 problem='journalctl is not on the PATH'
  type -P journalctl >/dev/null || return
  [[ ! $unit ]] || what+=("--unit=$unit")
  [[ ! $since ]] || what+=("--since=$since")
  if ! problem=$(journalctl "${what[@]}" --lines=0 2>&1 >/dev/null </dev/null); then
    [[ ! $since || ${problem,,} != *timestamp* ]] || code=1
    problem="journalctl: ${problem##*$'\n'}"
    return 1
  fi
  [[ ! $problem ]] || printf '%s\n' "$problem" >&2 # such as that other users' lines are missing
  # Before systemd 254 --lines with --since gave the oldest lines from then on.
  [[ $since ]] || what+=("--lines=$((lines + 1))")
  problem='journalctl ended with an error'
  text=$(set -o pipefail && journalctl --quiet "${what[@]}" </dev/null | newest) || return
  origin=journal problem='the journal is empty'
}

# Sets items to the JSON of lines FIRST to LAST, without quotes: many at once are much faster.
# shellcheck disable=SC2206 # splitting is what is wanted
encode_lines() { # FIRST LAST
  local IFS=$'\x02' number text=${found[$2]}
  for ((number = $2 - 1; number >= $1; number--)); do text="${found[number]}"$'\n'$text; done
  json_encode "$text"
  if [[ $1 != "$2" && $REPLY == *\\ufffd* ]]; then # may have lost characters of other lines
    items=()
    for ((number = $1; number <= $2; number++)); do
      json_encode "${found[number]}"
      items+=("${REPLY:1:${#REPLY}-2}")
    done
    return
  fi
  REPLY=${REPLY:1:${#REPLY}-2}
  REPLY=${REPLY//\\\\/$'\x03'} # then each \n is the end of a line
  REPLY=${REPLY//\\n/$'\x02'}$'\x02'
  REPLY=${REPLY//$'\x03'/\\\\}
  items=($REPLY)
}

# Sets REPLY to LINE as JSON without as much of its beginning as max_bytes demands. A piece at a
# time, from the end: with megabytes bash is slow.
encode_end() { # LINE
  local mark='"[beginning cut] ' piece start end=${#1} room IFS=''
  local -a pieces=()
  ((room = max_bytes - 3 - ${#mark}))
  for ((start = end; end > 0 && room > 0; end = start)); do
    ((start = end > 262144 ? end - 262144 : 0))
    while [[ ${1:start:1} == [$'\x80'-$'\xbf'] ]] && ((start < end - 99)); do ((start++)); done
    piece=${1:start:end - start}
    while json_encode "$piece" && ((${#REPLY} - 2 > room)); do
      piece=${piece:${#piece} - ${#piece} * room * 15 / 16 / ${#REPLY}}
      while [[ $piece == [$'\x80'-$'\xbf']* ]]; do piece=${piece:1}; done
      start=0
    done
    pieces[start]=${REPLY:1:${#REPLY}-2}
    ((room = start ? room - ${#pieces[start]} : 0))
  done
  REPLY="$mark${pieces[*]}\""
}

unit=${RUNE_PARAM_UNIT-} since=${RUNE_PARAM_SINCE-} path=${RUNE_PARAM_PATH-}
whole_number lines 200 1 10000 && lines=$REPLY
whole_number max_bytes 262144 256 8388608 && max_bytes=$REPLY
[[ ! $unit || $unit =~ ^[A-Za-z0-9_:\\][A-Za-z0-9_:.\\@-]*$ ]] ||
  rune_fail 1 "unit is no unit's name: $unit"

origin=''
if [[ $path ]]; then
  [[ $path == /* ]] || rune_fail 1 "path must begin with /: $path"
  [[ ! $unit$since ]] || rune_fail 1 'unit and since are for the journal: of no use with path'
  read_file "$path"
elif ! read_journal || [[ ! $text && ! $unit$since ]]; then
  [[ ! $unit$since ]] || rune_fail "$code" "$problem"
  for file in /var/log/syslog /var/log/messages; do
    if [[ -f $file ]]; then
      [[ ! $problem ]] || printf '%s: reading %s\n' "$problem" "$file" >&2
      read_file "$file"
      break
    fi
  done
  [[ $origin ]] || rune_fail 2 "there is no /var/log/syslog, no /var/log/messages, and $problem"
fi

set -f
IFS=$'\xff'
# shellcheck disable=SC2206 # splitting is what is wanted
found=($text)
truncated=false first=0
# The first is one too many, or has lost its beginning:
((${#found[@]} <= lines && ${#text} <= max_bytes)) || first=1
encoded=() bytes=1
for ((last = ${#found[@]} - 1; last >= first; last = begin - 1)); do
  ((begin = last, size = ${#found[last]}, bytes + size + 3 > max_bytes)) && break
  while ((begin > first && (size += ${#found[begin - 1]} + 1) < 2048)); do ((begin--)); done
  encode_lines "$begin" "$last"
  for ((number = last; number >= begin; number--)); do
    REPLY=${items[number - begin]}
    ((bytes + ${#REPLY} + 3 <= max_bytes)) || break 2
    ((bytes += ${#REPLY} + 3))
    encoded[number]="\"$REPLY\""
  done
done
((${#encoded[@]} == ${#found[@]})) || truncated=true
if ((${#encoded[@]} == 0 && ${#found[@]})); then
  encode_end "${found[-1]}"
  encoded=("$REPLY") bytes=$((${#REPLY} + 2))
fi
((${#encoded[@]})) || bytes=2

json_encode "$origin"
IFS=,
printf '{"payload":{"result":"success","output_data":{"source":%s,"line_count":%s' \
  "$REPLY" "${#encoded[@]}"
printf ',"bytes":%s,"truncated":%s,"lines":[%s]}}}\n' "$bytes" "$truncated" "${encoded[*]}"
