#!/bin/sh
# shellcheck disable=SC1091
. "${0%/*}/rune_posix.sh"

walk() { # KEY...: json is the value, taken apart and built again
  rune_type "$@"
  case $REPLY in
    object)
      rune_count "$@"
      out="$out{" at=0 count="$REPLY $count"
      while [ "$at" -lt "${count%% *}" ]; do
        rune_key "$at" "$@" && key=$REPLY
        rune_encode "$key"
        [ "$at" = 0 ] || out=$out,
        out=$out$REPLY: ats="$at $ats"
        walk "$@" "$key"
        at=$((${ats%% *} + 1)) ats=${ats#* }
      done
      out="$out}" count=${count#* }
      ;;
    array)
      rune_count "$@"
      out="${out}[" at=0 count="$REPLY $count"
      while [ "$at" -lt "${count%% *}" ]; do
        [ "$at" = 0 ] || out=$out,
        ats="$at $ats"
        walk "$@" "$at"
        at=$((${ats%% *} + 1)) ats=${ats#* }
      done
      out="$out]" count=${count#* }
      ;;
    string)
      if rune_param "$@"; then rune_encode "$REPLY"; else rune_json "$@"; fi
      out=$out$REPLY
      ;;
    null) out=${out}null ;;
    *) rune_param "$@" && out=$out$REPLY ;;
  esac
}

out='' ats='' count='' details='' retryable=''
rune_param 'do' || rune_fail 1 'do is missing'
case $REPLY in
  walk)
    walk value
    rune_put_json value "$out"
    ;;
  get)
    set --
    rune_count path && count=$REPLY
    while [ "$#" -lt "$count" ]; do rune_param path "$#" && set -- "$@" "$REPLY"; done
    rune_type "$@"
    rune_put type "$REPLY"
    if rune_json "$@"; then rune_put_json value "$REPLY"; fi
    status=0
    rune_param "$@" || status=$?
    rune_put_json status "$status"
    ;;
  fail)
    rune_json details && details=$REPLY
    rune_param retryable && retryable=$REPLY
    rune_param code && code=$REPLY
    rune_param message
    rune_fail "$code" "$REPLY" "$details" "$retryable"
    ;;
  events)
    rune_param message && message=$REPLY
    rune_progress 12.5 "$message"
    rune_log warning "$message"
    rune_metric busbw 412.5 GB/s higher "device=$message" kind=a -- 411 414
    rune_metric latency 7 us lower
    ;;
  left)
    rune_left && rune_put_json left "$REPLY"
    rune_context target && rune_put target "$REPLY"
    ;;
  bytes)
    text=$(cat bytes && printf x)
    rune_put text "${text%x}"
    ;;
esac
rune_success
