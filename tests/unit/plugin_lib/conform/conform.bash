#!/usr/bin/env bash
. "${0%/*}/rune.sh"

walk() { # KEY...: json is the value, taken apart and built again
  local kind one out=''
  rune_type "$@" && kind=$REPLY
  case $kind in
    object | array)
      local -a keys
      rune_keys "$@"
      keys=("${rune_replies[@]}")
      for one in "${keys[@]}"; do
        walk "$@" "$one"
        if [[ $kind == object ]]; then
          json_encode "$one"
          json=$REPLY:$json
        fi
        out+=,$json
      done
      if [[ $kind == object ]]; then json="{${out#,}}"; else json="[${out#,}]"; fi
      ;;
    string)
      if rune_param "$@"; then json_encode "$REPLY"; else rune_json "$@"; fi
      json=$REPLY
      ;;
    null) json=null ;;
    *) rune_param "$@" && json=$REPLY ;;
  esac
}

rune_param do || rune_fail 1 'do is missing'
case $REPLY in
  walk)
    walk value
    rune_put_json value "$json"
    ;;
  get)
    path=()
    rune_keys path
    indices=("${rune_replies[@]}")
    for one in "${indices[@]}"; do rune_param path "$one" && path+=("$REPLY"); done
    rune_type "${path[@]}"
    rune_put type "$REPLY"
    if rune_json "${path[@]}"; then rune_put_json value "$REPLY"; fi
    status=0
    rune_param "${path[@]}" || status=$?
    rune_put_json status $status
    ;;
  fail)
    rune_json details && details=$REPLY
    rune_param retryable && retryable=$REPLY
    rune_param code && code=$REPLY
    rune_param message
    rune_fail "$code" "$REPLY" "${details-}" "${retryable-}"
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
    IFS= read -rd '' text <bytes || true # it ends without a NUL
    rune_put text "$text"
    ;;
esac
rune_success
