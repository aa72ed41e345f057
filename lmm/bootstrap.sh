# What RUNE sends to `bash -s` ahead of a plugin: functions only, run by rune_main (see bootstrap.py).
# Needs bash 4.4 and coreutils. stdin goes on with the plugin, its environment and its payload and
# then stays open: its end means that RUNE is gone, any further byte means cancel. Where a receipt is
# wanted, rune_mode is set and receipt.sh is sent as well; its functions come in at the few lines below
# that name rune_mode.

rune_end() { # STATUS REASON [DETAIL]: tidies up, closes both streams' frames and exits
  if [[ ${rune_kept-} ]]; then
    rune_ended "$@"
  elif [[ ${rune_dir-} && -e $rune_dir ]]; then
    rm -rf -- "$rune_dir"
  fi
  printf '##rune-%s end %s %s %s\n' "$rune_nonce" "$1" "$2" "${3-}" >&2 2>/dev/null
  printf '##rune-%s end %s %s %s\n' "$rune_nonce" "$1" "$2" "${3-}" 2>/dev/null
  [[ ! ${rune_kept-} ]] || rune_parted
  exit "$1"
}

# Fills rune_found with the invocation's processes: all that carry its mark in their environment,
# children of this shell outside its own process group, and whatever descends from those or shares
# a process group with them.
rune_scan() {
  local proc pid stat own='' grown=1
  local -a env
  local -A parent=() group=() hit=() hit_group=()
  rune_found=()
  # shellcheck disable=SC2086 # state, parent and group follow the command's closing bracket
  IFS= read -r stat <"/proc/$$/stat" && set -- ${stat##*) } && own=$3
  for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    IFS= read -r stat <"$proc/stat" || continue
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [[ $1 == [ZX] || $pid == "$$" || $pid == "$BASHPID" ]] && continue
    parent[$pid]=$2 group[$pid]=$3
    if [[ $2 == "$$" && $3 != "$own" ]]; then
      hit[$pid]=1
    elif mapfile -d '' -t env <"$proc/environ"; then
      [[ " ${env[*]} " == *" RUNE_INVOCATION=$rune_mark "* ]] && hit[$pid]=1
    fi
  done
  while ((grown)); do
    grown=0
    for pid in "${!hit[@]}"; do
      [[ ${group[$pid]} == "$own" ]] || hit_group[${group[$pid]}]=1
    done
    for pid in "${!parent[@]}"; do
      [[ ${hit[$pid]-} ]] && continue
      [[ ${hit[${parent[$pid]}]-} || ${hit_group[${group[$pid]}]-} ]] && hit[$pid]=1 grown=1
    done
  done
  rune_found=("${!hit[@]}")
} 2>/dev/null

# Feeds the plugin, then waits for the deadline, a cancel or the end of stdin, and kills the tree:
# TERM, after two to three seconds KILL, until nothing is left. It works on alone if the main shell dies.
# When the plugin ends by itself the main shell kills the guard: with KILL while it waits, because
# `read` can miss a signal that comes just before it blocks; with TERM once there is .stopping.
rune_guard() { # PAYLOAD_LEN TIMEOUT_S; stdin: control, stdout: the plugin's stdin
  local why plugin_gone='' asked='' empty=0
  if (($1 > 4000)); then # more than a pipe surely holds, and the plugin may never read it
    printf '%s' "$rune_payload" &
  else
    printf '%s' "$rune_payload"
  fi
  exec 1>&-
  if [[ ${rune_mode-} == continue ]]; then
    rune_outlive "$2"
    why=$?
  elif IFS= read -r -N 1 -t "$2"; then why=11; elif (($? > 128)); then why=10; else why=12; fi
  trap 'plugin_gone=1' TERM
  : >"$rune_dir/.stopping"
  while :; do
    rune_scan
    if ((${#rune_found[@]})); then
      empty=0
      if [[ ! $asked ]]; then
        asked=$SECONDS
        kill -TERM "${rune_found[@]}"
        kill -CONT "${rune_found[@]}"
      elif ((SECONDS - asked > 2)); then
        kill -KILL "${rune_found[@]}"
      fi
    else
      ((++empty))
      [[ $plugin_gone ]] && break
      ((empty > 2)) && ! kill -0 $$ && break
    fi
    sleep 0.1
  done
  rm -rf -- "$rune_dir"
  exit "$why"
} 2>/dev/null

# Puts the plugin into a private directory, the first that takes it. KIND is text (no NUL; read by
# the shell, which costs no process) or bytes.
rune_place() { # KIND LEN FILE INTERPRETED
  local base text
  [[ $1 != text ]] || LC_ALL=C IFS= read -rN "$2" text || return
  local -a bases=("${XDG_RUNTIME_DIR-}" /dev/shm "${TMPDIR-}" /tmp "${HOME-}")
  # systemd empties the first two when the last login of the user ends (RemoveIPC)
  [[ ${rune_mode-} != continue ]] || bases=("${bases[@]:2}")
  for base in "${bases[@]}"; do
    rune_dir=$base/.rune-$rune_mark
    [[ $base && -w $base ]] || continue
    mkdir -m 700 -- "$rune_dir" || continue
    if [[ ! $4 ]]; then # a program needs a file system without noexec
      : >"$rune_dir/$3" && chmod 700 -- "$rune_dir/$3"
    fi
    if [[ $4 || -x $rune_dir/$3 ]]; then
      if [[ $1 == text ]]; then
        printf '%s' "$text" >"$rune_dir/$3" && return
      else
        head -c "$2" >"$rune_dir/$3" && return
        return 1 # these bytes come only once
      fi
    fi
    rm -rf -- "$rune_dir"
  done
  return 1
} 2>/dev/null

# NONCE MARK TIMEOUT_S FILE KIND PLUGIN_LEN PAYLOAD_LEN
# N_REQUIRED COMMAND... N_VARIABLES [NAME LEN]... INTERPRETER...
rune_main() {
  local i n command pid guard status why
  local -a names=() values=()
  rune_nonce=$1 rune_mark=$2
  local timeout=$3 file=$4 kind=$5 plugin_len=$6 payload_len=$7
  shift 7
  trap : PIPE HUP # a dropped connection must not end this shell before it has cleaned up
  ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || rune_end 100 old_bash "$BASH_VERSION"
  n=$1
  shift
  for command in "${@:1:n}"; do
    type -P -- "$command" >/dev/null || rune_end 100 missing "$command"
  done
  shift "$n"
  n=$1
  shift
  for ((i = 0; i < n; i++)); do
    names[i]=$1 values[i]=$2
    shift 2
  done
  [[ ! ${1-} ]] || type -P -- "$1" >/dev/null || rune_end 100 missing "$1"
  rune_place "$kind" "$plugin_len" "$file" "${1-}" || rune_end 100 no_directory
  for ((i = 0; i < n; i++)); do
    if ((values[i])); then
      LC_ALL=C IFS= read -rN "${values[i]}" "values[i]" || rune_end 100 short
    else
      values[i]=
    fi
  done
  LC_ALL=C IFS= read -rN "$payload_len" rune_payload || rune_end 100 short
  if [[ ${rune_mode-} ]]; then rune_claim "$rune_mode" "$rune_mark" || rune_end 100 "${rune_why-}"; fi
  printf '##rune-%s start\n' "$rune_nonce" >&2
  printf '##rune-%s start\n' "$rune_nonce"
  [[ ${rune_mode-} != continue ]] || rune_survive
  exec 4< <(rune_guard "$payload_len" "$timeout")
  guard=$!
  [[ ${rune_mode-} != kill ]] || rune_tap
  set -m # a process group of its own for the plugin
  (
    trap - PIPE HUP
    [[ ${rune_mode-} != continue ]] || trap '' HUP
    for ((i = 0; i < n; i++)); do export "${names[i]}=${values[i]}"; done
    export RUNE_INVOCATION="$rune_mark"
    exec "$@" "$rune_dir/$file"
  ) <&4 4<&- >&"${rune_out-1}" 2>&"${rune_err-2}" 3>&- 5>&- 6>&- 7<&- 8<&- &
  pid=$!
  set +m
  exec 4<&-
  [[ ${rune_mode-} != kill ]] || rune_drink
  {
    wait "$pid"
    status=$?
    if kill -0 -- "-$pid"; then # left behind in the plugin's process group
      kill -TERM -- "-$pid"
      sleep 0.2
      kill -KILL -- "-$pid"
    fi
    if [[ -e $rune_dir/.stopping ]]; then kill -TERM "$guard"; else kill -KILL "$guard"; fi
    wait "$guard"
    why=$?
  } 2>/dev/null
  [[ ! ${rune_kept-} || ! -e $rune_kept.stop ]] || why=11
  case $why in
    10) rune_end "$status" timeout ;;
    11) rune_end "$status" cancel ;;
    12) rune_end "$status" disconnect ;;
    13) rune_end "$status" flood stdout ;;
    14) rune_end "$status" flood stderr ;;
    *) rune_end "$status" exit ;;
  esac
}
