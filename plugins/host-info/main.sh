#!/usr/bin/env bash
# Describes this host from /proc, /sys and os-release. The only other process is stat.

# shellcheck source=/dev/null
. "${0%/*}/rune.sh"
shopt -s nullglob

[[ -r /proc/meminfo ]] || rune_fail 2 '/proc is not mounted: this is no Linux host'

json_or_null() { # TEXT
  if [[ $1 ]]; then json_encode "$1"; else REPLY=null; fi
}

# Sets REPLY to the first line of a file; empty if it cannot be read.
first_line() { # FILE
  REPLY=
  IFS= read -r REPLY <"$1"
} 2>/dev/null

read_os() {
  local file line value one
  local -A os=()
  for file in /etc/os-release /usr/lib/os-release; do
    [[ -r $file ]] || continue
    while IFS= read -r line || [[ $line ]]; do
      value=${line#*=}
      if [[ $value == \"*\" || $value == \'*\' ]]; then
        value=${value:1:${#value}-2}
        for one in '"' '$' '`' \\; do value=${value//"\\$one"/"$one"}; done
      fi
      [[ $line != [A-Z]*=* ]] || os[${line%%=*}]=$value
    done <"$file"
    break
  done
  json_or_null "${os[ID]-}" && os_id=$REPLY
  json_or_null "${os[NAME]-}" && os_name=$REPLY
  json_or_null "${os[VERSION_ID]-${os[VERSION]-}}" && os_version=$REPLY
}

# Only the first block of cpuinfo is read: with 256 CPUs the whole is long.
read_cpu() {
  local line key range file model='' implementer='' part=''
  local -A packages=()
  hypervisor=unknown
  while IFS= read -r line && [[ $line || ! $model$implementer ]]; do
    key=${line%%*([[:space:]]):*} line=${line#*: }
    case $key in
      'model name' | 'cpu model' | cpu) model=${model:-$line} ;;
      'CPU implementer') implementer=$line ;;
      'CPU part') part=$line ;;
      flags) [[ " $line " == *' hypervisor '* ]] && hypervisor=yes || hypervisor=no ;;
    esac
  done </proc/cpuinfo
  if [[ ! $model && $implementer ]]; then
    case $implementer/$part in # from the Technical Reference Manuals of the cores
      0x41/0xd0c) model='Arm Neoverse-N1' ;;
      0x41/0xd40) model='Arm Neoverse-V1' ;;
      0x41/0xd49) model='Arm Neoverse-N2' ;;
      0x41/0xd4f) model='Arm Neoverse-V2' ;;
      *) model="implementer $implementer part $part" ;;
    esac
  fi
  json_or_null "$model" && cpu_model=$REPLY
  cpu_count=0
  first_line /sys/devices/system/cpu/online # such as 0-3,8
  for range in ${REPLY//,/ }; do ((cpu_count += ${range#*-} - ${range%-*} + 1)); done
  for file in /sys/devices/system/cpu/cpu+([0-9])/topology/physical_package_id; do
    first_line "$file"
    [[ ! $REPLY ]] || packages[$REPLY]=1
  done
  cpu_sockets=${#packages[@]}
  ((cpu_sockets)) || cpu_sockets=null
}

read_memory() {
  local key value
  local -A kib=()
  while read -r key value _; do kib[${key%:}]=$value; done </proc/meminfo
  memory_total=$((kib[MemTotal] * 1024))
  memory_available=$((${kib[MemAvailable]:-kib[MemFree]} * 1024)) # absent before Linux 3.14
  swap_total=$((kib[SwapTotal] * 1024)) swap_free=$((kib[SwapFree] * 1024))
}

# Sets disks to the JSON objects of the mounted local file systems, each device once. Network file
# systems are left out: asking a dead server for its size blocks for ever.
read_disks() {
  local device mountpoint kind size blocks free available text
  local -A known=() devices=() kinds=()
  while read -r device mountpoint kind _; do
    case $kind in
      ext[234] | xfs | btrfs | zfs | bcachefs | f2fs | jfs | nilfs2 | vfat | exfat | ntfs | ntfs3) ;;
      *) [[ $mountpoint == / && $kind != rootfs ]] || continue ;;
    esac
    [[ ! ${known[$device]-} ]] || continue
    known[$device]=1
    printf -v device %b "${device//\\/\\0}" # the kernel writes a space as \040
    printf -v mountpoint %b "${mountpoint//\\/\\0}"
    devices[$mountpoint]=$device kinds[$mountpoint]=$kind
  done </proc/self/mounts
  disks=''
  ((${#devices[@]})) || return
  while read -r -d '' size blocks free available && IFS= read -r -d '' mountpoint; do
    json_encode "${devices[$mountpoint]}" && text=$REPLY
    json_encode "$mountpoint"
    disks+=",{\"device\":$text,\"mountpoint\":$REPLY,\"fstype\":\"${kinds[$mountpoint]}\""
    disks+=",\"size_bytes\":$((blocks * size)),\"used_bytes\":$(((blocks - free) * size))"
    disks+=",\"available_bytes\":$((available * size))}"
  done < <(exec stat -f --printf '%S %b %f %a\0%n\0' -- "${!devices[@]}" 2>/dev/null)
}

# Sets the JSON texts vendor and product, and virtualization: what this host runs in.
read_platform() {
  local hint='' vendor_text product_text
  first_line /sys/class/dmi/id/sys_vendor && vendor_text=$REPLY
  first_line /sys/class/dmi/id/product_name && product_text=$REPLY
  json_or_null "${vendor_text-}" && vendor=$REPLY
  json_or_null "${product_text-}" && product=$REPLY
  if first_line /run/systemd/container; then
    hint=$REPLY
  elif [[ -e /run/.containerenv ]]; then
    hint=podman
  elif [[ -e /.dockerenv ]]; then
    hint=docker
  elif [[ $kernel == *[Mm]icrosoft* ]]; then
    hint=wsl
  elif first_line /sys/hypervisor/type; then
    hint=$REPLY
  elif [[ $hypervisor == no || ${product_text-} == *.metal ]]; then
    hint=none
  else
    case ${vendor_text-}/${product_text-} in
      QEMU/* | */KVM*) hint=kvm ;;
      VMware*) hint=vmware ;;
      innotek*) hint=virtualbox ;;
      Microsoft*/Virtual*) hint=hyperv ;;
      Xen/*) hint=xen ;;
      Amazon*) hint=amazon ;;
      Google/*) hint=google ;;
      *) [[ $hypervisor == unknown ]] || hint=vm ;;
    esac
  fi
  json_or_null "$hint" && virtualization=$REPLY
}

read_os
read_cpu
read_memory
read_disks
first_line /proc/sys/kernel/osrelease && kernel=$REPLY
read_platform
json_encode "$kernel" && kernel=$REPLY
first_line /proc/sys/kernel/hostname && json_encode "$REPLY" && hostname=$REPLY
first_line /proc/sys/kernel/arch && arch=$REPLY || arch=$(uname -m) # since Linux 6.1
read -r load_1m load_5m load_15m _ </proc/loadavg
read -r uptime _ </proc/uptime
while read -r key boot_epoch; do [[ $key == btime ]] && break; done </proc/stat
TZ=UTC0 printf -v boot_time '%(%FT%TZ)T' "$boot_epoch"

printf '{"payload":{"result":"success","output_data":{"hostname":%s' "$hostname"
printf ',"os":{"id":%s,"name":%s,"version":%s}' "$os_id" "$os_name" "$os_version"
printf ',"kernel":%s,"architecture":"%s"' "$kernel" "$arch"
printf ',"hardware":{"vendor":%s,"product":%s}' "$vendor" "$product"
printf ',"virtualization":%s' "$virtualization"
printf ',"cpu":{"model":%s,"logical_cpus":%s,"sockets":%s}' \
  "$cpu_model" "$cpu_count" "$cpu_sockets"
printf ',"memory":{"total_bytes":%s,"available_bytes":%s' "$memory_total" "$memory_available"
printf ',"swap_total_bytes":%s,"swap_free_bytes":%s}' "$swap_total" "$swap_free"
printf ',"disks":[%s],"uptime_s":%s,"boot_time":"%s"' "${disks#,}" "$uptime" "$boot_time"
printf ',"load_1m":%s,"load_5m":%s,"load_15m":%s}}}\n' "$load_1m" "$load_5m" "$load_15m"
