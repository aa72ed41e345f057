# What RUNE sends to a host's bash ahead of a plugin: functions only, run by rune_main (see bootstrap.py).
# Needs bash 4.4 and coreutils. stdin goes on with the plugin, its environment and its payload and
# then stays open: its end means that RUNE is gone, any further byte means cancel. Where a receipt is
# wanted, rune_mode is set and receipt.sh is sent as well; its functions come in at the few lines below
# that name rune_mode. Where a plugin has more files than its script files.sh is sent, too; own.sh and
# kill.sh always.

rune_end() { # STATUS REASON [DETAIL]: tidies up, closes both streams' frames and exits
  if [[ ${rune_kept-} ]]; then
    rune_ended "$@"
  elif [[ ${rune_dir-} && -e $rune_dir ]]; then
    rm -rf -- "$rune_dir"
  fi
  printf '\n##rune-%s end %s %s %s\n' "$rune_nonce" "$1" "$2" "${3-}" >&2 2>/dev/null
  printf '\n##rune-%s end %s %s %s\n' "$rune_nonce" "$1" "$2" "${3-}" 2>/dev/null
  [[ ! ${rune_kept-} ]] || rune_parted
  [[ ! ${rune_unread-} ]] || rune_drain
  exit "$1"
}

# Reads what is left of the stream: a shell that the login starts after this one would run it.
rune_drain() {
  local line
  while IFS= read -r -t 20 line; do
    # shellcheck disable=SC2154 # from HEAD
    [[ $line == *"$rune_word" ]] && return
  done
} 2>/dev/null

# Whether the main shell has seen the plugin end. The plugin may have removed the private directory,
# and somebody else have taken its name.
rune_over() {
  [[ -e $rune_dir/.ended ]] || ! rune_is_own "$rune_dir"
}

# Makes a file that says something by being there, of a spare one where the directory takes no more.
rune_note() { # FILE
  local -a spare=("${1%/*}"/.spare*)
  rune_is_own "${1%/*}" || return
  : >"$1" || mv -- "${spare[0]}" "$1"
} 2>/dev/null

# Feeds the plugin and guards it. It works on alone if the main shell dies. When the plugin ends by
# itself the main shell kills the guard with KILL: `read` can miss any other signal that comes just
# before it blocks. A guard that kills the tree is told by a file, as bash loses trapped signals. The
# plugin starts after a first byte: it may take all processes that the account may have.
rune_guard() { # PAYLOAD_LEN TIMEOUT_S; fd 3: control, stdout: a byte, then the plugin's stdin
  local deadline
  rune_clock
  # shellcheck disable=SC2154 # from rune_clock
  deadline=$((rune_tick + 10#${2/./} / 10))
  exec 4> >(exec >/dev/null; rune_second "$deadline")
  if (($1 > 4000)); then # more than a pipe surely holds, and the plugin may never read it
    printf '.%s' "$rune_payload" &
  else
    printf '.%s' "$rune_payload"
  fi
  exec >/dev/null
  rune_watch "$deadline"
} 2>/dev/null

# Waits for the deadline, a cancel or the end of control, notes which, and kills the tree.
rune_watch() { # DEADLINE, as rune_clock tells it [SECOND]; fd 3: control
  local why='' byte got left
  while [[ ! $why ]]; do
    rune_clock
    ((left = $1 - rune_tick, left = left < 100 ? left : 100))
    ((left > 0)) || { why=timeout; break; }
    printf -v left '%d.%02d' $((left / 100)) $((left % 100))
    IFS= read -r -N 1 -t "$left" -u 3 byte
    got=$?
    [[ ${2-} ]] && rune_over && return # the main shell kills only the first guard
    case $got$byte in
      0o) why=flood-stdout ;; # from rune_record
      0e) why=flood-stderr ;;
      0*) why=cancel ;;
      *) ((got > 128)) && rune_there || why=disconnect ;;
    esac
  done
  # the plugin may have removed it
  [[ ${2-} || -e $rune_dir ]] || mkdir -m 700 -- "$rune_dir"
  rune_note "$rune_dir/.halt.$why"
  rune_halt
}

# Kills the tree until the main shell has seen the plugin end: before, it may be about to start it.
rune_halt() {
  local alone=0
  until rune_over && rune_is_own "$rune_dir"; do
    rune_kill "$rune_dir/.killed"
    rune_over && break
    rune_nap 0.1
    rune_there || ((++alone < 4)) || break
  done
  rm -rf -- "$rune_dir"
}

# Takes the guard's place if somebody kills it: then the pipe ends of which the guard has one end.
rune_second() { # DEADLINE
  IFS= read -r
  rune_over && return
  exec 4> >(rune_second "$1")
  set -- "$1" "$rune_dir"/.halt.*
  if [[ -e $2 ]]; then rune_halt; else rune_watch "$1" second; fi
}

# Puts the plugin into a private directory, the first that takes it. KIND is text (no NUL; read by
# the shell, which costs no process) or bytes. Others than these interpreters may look for code in all
# folders above a script, as node does: for them there is none that everybody can write.
rune_place() { # KIND LEN FILE INTERPRETER...
  local base text path word='' own='' home=${HOME:-~} runtime=${XDG_RUNTIME_DIR-}
  [[ -O $runtime ]] || runtime='' # another's, which sudo has kept
  [[ $1 != text ]] || LC_ALL=C IFS= read -rN "$2" text || { rune_why=short; return 1; }
  local -a bases=("$runtime" /dev/shm "${TMPDIR-}" /tmp "$home")
  for word in "${@:4}"; do
    [[ ${word##*/} == env || $word == *=* ]] || break
  done
  case ${word##*/} in
    '' | *sh | perl* | python*) ;;
    *) own=1 bases=("$runtime" '' "$home") ;;
  esac
  # systemd empties the first two when the last login of the user ends (RemoveIPC)
  [[ ${rune_mode-} != continue ]] || bases=("${bases[@]:2}")
  for base in "${bases[@]}"; do
    rune_dir=$base/.rune-${rune_mark:0:16} # seen by all: the other half marks the processes
    [[ $base && -w $base ]] || continue
    if [[ $own && (! -O $base || -k $base) ]] || ! rune_is_safe "$base"; then continue; fi
    path=$rune_dir/plugin/$3 # a plugin that removes its folder does not remove the notes
    if mkdir -m 700 -- "$rune_dir" "$rune_dir/plugin"; then
      : >"$rune_dir/.spare1" && : >"$rune_dir/.spare2" && : >"$rune_dir/.spare3" && : >"$path"
    fi
    [[ ${4-} ]] || chmod 700 -- "$path" # a program needs a file system without noexec
    if [[ -e $path && (${4-} || -x $path) ]]; then
      if [[ $1 == text ]]; then
        printf '%s' "$text" >"$path" && return
      else
        # these bytes come only once: take the room before them
        head -c "$2" /dev/zero >"$path" && { head -c "$2" 1<>"$path"; return; }
      fi
    fi
    rm -rf -- "$rune_dir"
  done
  return 1
} 2>/dev/null

# NONCE MARK TIMEOUT_S FILE KIND PLUGIN_LEN PAYLOAD_LEN
# N_REQUIRED COMMAND... N_WORDS FILES... N_VARIABLES [NAME LEN]... INTERPRETER...
rune_main() {
  local i n command pid guard status why
  local -a names=() values=() halting
  rune_nonce=$1 rune_mark=$2 rune_unread=1 rune_why=''
  local timeout=$3 file=$4 kind=$5 plugin_len=$6 payload_len=$7
  shift 7
  # a dropped connection or a full file must not end this shell or its guard before they are done
  trap '' PIPE HUP XFSZ
  ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || rune_end 100 old_bash "$BASH_VERSION"
  n=$1
  shift
  for command in "${@:1:n}"; do
    type -P -- "$command" >/dev/null || rune_end 100 missing "$command"
  done
  shift "$n"
  rune_files=("${@:2:$1}")
  shift $(($1 + 1))
  n=$1
  shift
  for ((i = 0; i < n; i++)); do
    names[i]=$1 values[i]=$2
    shift 2
  done
  [[ ! ${1-} ]] || type -P -- "$1" >/dev/null || rune_end 100 missing "$1"
  ((${#rune_files[@]} == 0)) || rune_have_files || rune_end 100 want
  rune_place "$kind" "$plugin_len" "$file" "$@" || rune_end 100 "${rune_why:-no_directory}"
  exec {rune_held}<"$rune_dir"
  ((${#rune_files[@]} == 0)) || rune_put_files || rune_end 100 no_directory
  for ((i = 0; i < n; i++)); do
    if ((values[i])); then
      LC_ALL=C IFS= read -rN "${values[i]}" "values[i]" || rune_end 100 short
    else
      values[i]=
    fi
  done
  LC_ALL=C IFS= read -rN "$payload_len" rune_payload || rune_end 100 short
  # Of what came the plugin may be anything if somebody else has read, too: then this is not the end.
  # shellcheck disable=SC2154 # from HEAD
  LC_ALL=C IFS= read -rN $((${#rune_word} + 1)) i || rune_end 100 short
  [[ $i == "$rune_word"? ]] || rune_end 100 eaten
  rune_unread=''
  rune_remember
  if [[ ${rune_mode-} ]]; then rune_claim "$rune_mode" "$rune_mark" || rune_end 100 "${rune_why-}"; fi
  printf '\n##rune-%s start\n' "$rune_nonce" >&2
  printf '\n##rune-%s start\n' "$rune_nonce"
  if [[ ${rune_mode-} == continue ]]; then rune_survive; else exec 3<&0; fi
  exec 4< <(rune_guard "$payload_len" "$timeout")
  guard=$!
  LC_ALL=C IFS= read -rN 1 -u 4 i || rune_end 100 no_guard
  [[ ${rune_mode-} != kill ]] || rune_tap
  set -m # a process group of its own for the plugin
  (
    trap - PIPE HUP XFSZ
    [[ ${rune_mode-} != continue ]] || trap '' HUP
    for ((i = 0; i < n; i++)); do export "${names[i]}=${values[i]}"; done
    export RUNE_INVOCATION="${rune_mark:16}"
    exec {rune_held}<&-
    exec "$@" "$rune_dir/plugin/$file"
  ) <&4 4<&- >&"${rune_out-1}" 2>&"${rune_err-2}" 3>&- 5>&- 6>&- 7<&- 8<&- &
  pid=$!
  set +m
  exec 4<&-
  [[ ${rune_mode-} != kill ]] || rune_drink
  {
    while wait "$pid"; status=$?; kill -0 "$pid"; do # it has stopped itself before `set +m`
      rune_nap 0.1
    done
    ! kill -0 -- "-$pid" || rune_kill_group "$pid"
    halting=("$rune_dir"/.halt.*)
    why='exit'
    ! rune_is_own "$rune_dir" || [[ ! -e $rune_dir/.killed ]] || why=${halting[0]##*.}
    rune_note "$rune_dir/.ended"
    halting=("$rune_dir"/.halt.*) # made before the guard looks for .ended: one sees the other's
    if [[ ! -e ${halting[0]} || ! -e $rune_dir/.ended ]] || ! rune_is_own "$rune_dir"; then
      # shellcheck disable=SC2154 # from kill.sh
      rune_look_at "$guard" && [[ $rune_stat == ?" $$ "* ]] && kill -KILL "$guard"
    fi
    # else the guard is at its work, or lets go what it has stopped; perhaps somebody kills it
    wait "$guard" || { [[ $why == exit ]] && rune_is_own "$rune_dir"; } || rune_kill "$rune_dir"
  } 2>/dev/null
  [[ ! ${rune_kept-} || ! -e $rune_kept.stop ]] || why=cancel
  case $why in
    flood-*) rune_end "$status" flood "${why#*-}" ;;
    *) rune_end "$status" "$why" ;;
  esac
}
