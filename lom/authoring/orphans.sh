#!/usr/bin/env bash
# Answers with the processes that carry RUNE_KIT=$RUNE_PARAM_MARK in their environment, after
# giving those that are about to end two seconds, and kills them.
found=()
scan() {
  local proc entry
  local -a environment
  found=()
  for proc in /proc/[0-9]*; do
    mapfile -d '' -t environment <"$proc/environ" || continue
    for entry in "${environment[@]}"; do
      [[ $entry == "RUNE_KIT=$RUNE_PARAM_MARK" ]] && found+=("${proc##*/}") && break
    done
  done
} 2>/dev/null

for ((round = 0; round < 20; round++)); do
  scan
  ((${#found[@]})) || break
  sleep 0.1
done
list=''
for pid in "${found[@]}"; do
  name=$(<"/proc/$pid/comm")
  list+="${list:+,}\"${name//[!A-Za-z0-9._-]/_} ($pid)\""
  kill -KILL "$pid"
done 2>/dev/null
printf '{"payload":{"result":"success","output_data":{"left":[%s]}}}\n' "$list"
