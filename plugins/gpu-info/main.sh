#!/usr/bin/env bash
# Describes the NVIDIA GPUs of this host, as nvidia-smi sees them.
export LC_ALL=C # nvidia-smi answers in English

# shellcheck source=/dev/null
. "${0%/*}/rune.sh"

fields=(
  index uuid name driver_version vbios_version pci.bus_id memory.total memory.used
  clocks.sm clocks.mem power.draw power.limit temperature.gpu utilization.gpu utilization.memory
  ecc.mode.current ecc.errors.corrected.volatile.total ecc.errors.uncorrected.volatile.total
  mig.mode.current
)

query() { # Sets output and status.
  local IFS=,
  output=$(nvidia-smi "--query-gpu=${fields[*]}" --format=csv,noheader,nounits 2>&1)
  status=$?
}

# The values of one GPU are in the array value, by field. Where nvidia-smi knows none it writes
# N/A, [N/A], [Not Supported], [Unknown Error] or the like: all of them become null.
text() { # FIELD
  local text=${value[$1]-}
  if [[ ! $text || $text == N/A || $text == \[*\] ]]; then REPLY=null; else json_encode "$text"; fi
}
number() { # FIELD
  REPLY=${value[$1]-}
  [[ $REPLY =~ ^-?(0|[1-9][0-9]*)(\.[0-9]+)?$ ]] || REPLY=null
}
bytes() { # FIELD, in MiB
  number "$1"
  [[ $REPLY != +([0-9]) ]] || REPLY=$((REPLY * 1048576))
}
enabled() { # FIELD
  case ${value[$1]-} in
    Enabled) REPLY=true ;;
    Disabled) REPLY=false ;;
    *) REPLY=null ;;
  esac
}

type -P nvidia-smi >/dev/null ||
  rune_fail 2 'this host has no nvidia-smi: the NVIDIA driver is missing'
query
if [[ $output == *'is not a valid field to query'* ]]; then # an older driver: ask what it knows
  help=$(nvidia-smi --help-query-gpu 2>&1)
  known=()
  for field in "${fields[@]}"; do
    [[ $help != *"\"$field\""* ]] || known+=("$field")
  done
  ((${#known[@]})) || rune_fail 3 "nvidia-smi says: ${output%%$'\n'*}"
  fields=("${known[@]}")
  query
fi

declare -A value mig_devices
if [[ ${fields[*]} == *mig.mode.current && $output$'\n' == *', Enabled'$'\n'* ]]; then # the last field
  while IFS= read -r line; do
    if [[ $line =~ ^GPU\ .*\(UUID:\ ([^\)]+)\) ]]; then
      uuid=${BASH_REMATCH[1]}
    elif [[ $line =~ ^\ *MIG\ ([^ ]+)\ +Device\ +([0-9]+):\ \(UUID:\ ([^\)]+)\) ]]; then
      json_encode "${BASH_REMATCH[1]}" && profile=$REPLY
      json_encode "${BASH_REMATCH[3]}"
      mig_devices[$uuid]+=",{\"index\":${BASH_REMATCH[2]},\"profile\":$profile,\"uuid\":$REPLY}"
    fi
  done < <(nvidia-smi -L 2>/dev/null)
fi

gpus='' driver='' count=0 complaint='' warnings=''
while IFS= read -r line; do
  IFS=, read -r -a row <<<"$line"
  if [[ ${row[0]-} != +([0-9]) ]] || ((${#row[@]} != ${#fields[@]})); then
    [[ $line ]] || continue
    [[ $line == WARNING* ]] || complaint=${complaint:-$line} # one GPU lost while others answer
    json_encode "$line" && warnings+=,$REPLY
    continue
  fi
  value=()
  for ((i = 0; i < ${#fields[@]}; i++)); do value[${fields[i]}]=${row[i]# }; done
  gpu="\"index\":${row[0]}"
  for name in uuid=uuid name=name vbios_version=vbios_version pci_bus_id=pci.bus_id; do
    text "${name#*=}"
    gpu+=",\"${name%=*}\":$REPLY"
  done
  for name in memory_total_bytes=memory.total memory_used_bytes=memory.used; do
    bytes "${name#*=}"
    gpu+=",\"${name%=*}\":$REPLY"
  done
  for name in sm_clock_mhz=clocks.sm memory_clock_mhz=clocks.mem power_draw_w=power.draw \
    power_limit_w=power.limit temperature_celsius=temperature.gpu \
    gpu_utilization_percent=utilization.gpu memory_utilization_percent=utilization.memory; do
    number "${name#*=}"
    gpu+=",\"${name%=*}\":$REPLY"
  done
  enabled ecc.mode.current
  gpu+=",\"ecc\":{\"enabled\":$REPLY"
  number ecc.errors.corrected.volatile.total
  gpu+=",\"corrected_volatile\":$REPLY"
  number ecc.errors.uncorrected.volatile.total
  gpu+=",\"uncorrected_volatile\":$REPLY}"
  enabled mig.mode.current
  devices=${mig_devices[${value[uuid]}]-}
  gpus+=",{$gpu,\"mig\":{\"enabled\":$REPLY,\"devices\":[${devices#,}]}}"
  text driver_version && driver=$REPLY
  ((++count))
done <<<"$output"

# 14 says that an infoROM is corrupted, which is no reason to withhold the rest.
if ((status != 0 && status != 14 || count == 0)) || [[ $complaint ]]; then
  complaint=${complaint:-nvidia-smi ended with exit status $status and named no GPU}
  json_encode "$output"
  details="\"exit_status\":$status,\"output\":$REPLY,\"gpus\":[${gpus#,}]"
  case $complaint in
    *'No devices were found'* | *'Failed to initialize NVML'* | *'communicate with the NVIDIA'*)
      rune_fail 2 "$complaint" "{$details}"
      ;;
    *) rune_fail 3 "$complaint" "{$details}" ;;
  esac
fi
rune_put_json driver_version "$driver"
rune_put_json gpu_count "$count"
rune_put_json gpus "[${gpus#,}]"
rune_put_json warnings "[${warnings#,}]"
rune_success
