# Sent after receipt.sh where somebody reads from a receipt: to ask what became of an invocation, or
# because its plugin is to survive the connection. Functions only.
# shellcheck disable=SC2034,SC2154 # what the three files set and use is one program's

# Sets the streams up so that nothing of the plugin depends on the connection.
rune_survive() {
  exec 3<> <(:) # never ends: the guard reads from it, rune_record and rune_stop write to it
  rune_read
  rune_follow <&0 &
  rune_follower=$!
  exec 1> >(rune_record o "$rune_most_out" "$rune_kept.out")
  exec 2> >(rune_record e "$rune_most_err" "$rune_kept.err")
}

# Writes what comes to FILE, at most MAX bytes; for more it has the guard kill the plugin.
rune_record() { # LETTER MAX FILE
  local left=$2 first rest format LC_ALL=C
  if [[ $1 == o ]]; then
    head -c "$2" >>"$3"
    IFS= read -r -N 1 first || return
  else # by hand: head would hold a line back until it has more
    while IFS= read -r -d '' -n 1 first; do # the first byte, nothing for a NUL
      format='%s\0' rest=''
      if [[ $first ]]; then
        IFS= read -r -d '' -n 4095 -t 0.1 rest && ((${#rest} < 4095)) || format=%s
      fi
      ((left -= 2 + ${#rest}, left >= 0)) || break
      # shellcheck disable=SC2059
      printf "$format" "$first$rest" >>"$3"
    done
    ((left < 0)) || return
  fi
  printf '%s' "$1" >&3
  cat >/dev/null
} 2>/dev/null

# Reads the receipt: rune_state is started, ended, read, barred, or nothing if it is not yet written.
rune_read() {
  local line
  rune_state=''
  while IFS= read -r line; do
    # shellcheck disable=SC2086
    set -- $line
    rune_state=$1
    case $1 in
      started) rune_started=$2 rune_mark=$3 rune_pid=$4 rune_begun=$5 rune_boot=$6 rune_framed=$7 ;;
      ended) rune_status=$2 ;;
    esac
  done <"$rune_kept.state"
}

# Whether both files have their end lines.
rune_whole() {
  local file
  for file in out err; do
    [[ $(tail -c 300 <"$rune_kept.$file") == *$'\n'"##rune-$rune_framed end "* ]] || return
  done
} 2>/dev/null

# Has the plugin killed. What is opened at the main shell's id is its own only if that is there before
# and afterwards; until then nothing may be changed by it.
rune_stop() {
  local control=''
  if [[ $rune_started == continue ]]; then
    rune_there && exec {control}<>"/proc/$rune_pid/fd/3"
    if rune_there && [[ $control && -p /proc/self/fd/$control ]]; then printf c >&"$control"; fi
    [[ ! $control ]] || exec {control}>&-
  else
    rune_kill "$rune_kept.stop"
  fi
} 2>/dev/null

# Sends the receipt's output from its first byte and whatever is added, until both end lines have
# been sent. Control is on stdin, as the guard reads it. Returns 0 when RUNE says that it has read it.
rune_follow() {
  local byte got stopped='' gone=0 sign out err
  exec 7> >(IFS= read -r) # lives as long as this process has the pipe: the tails' sign to end
  sign=$!
  tail -f -s 0.1 --pid="$sign" -c +1 <"$rune_kept.out" 7>&- 2>/dev/null &
  out=$!
  tail -f -s 0.1 --pid="$sign" -c +1 <"$rune_kept.err" 7>&- >&2 2>/dev/null &
  err=$!
  while rune_read; [[ $rune_state == started ]] || ! rune_whole; do
    if rune_there; then gone=0; elif ((++gone > 5)); then break; fi
    byte=c got=0
    if [[ ${rune_kill-} ]]; then rune_kill=''; else
      IFS= read -r -N 1 -t 0.1 byte
      got=$?
    fi
    if [[ $byte == r ]]; then
      kill "$out" "$err"
      return 0
    elif [[ $byte ]]; then
      [[ $stopped ]] || rune_stop
      stopped=1
    elif ((got && got <= 128)); then # RUNE is gone, unless it has hung up because it cancelled
      if [[ ! $stopped ]]; then
        kill "$out" "$err"
        return 1
      fi
      exec 0<> <(:)
    fi
  done
  ((gone <= 5)) || rune_kill "$rune_kept.stop"
  exec 7>&-
  wait "$out" "$err"
  if ((gone > 5)) && ! rune_whole; then
    printf '\n##rune-%s end 137 gone \n' "$rune_framed" >&2
    printf '\n##rune-%s end 137 gone \n' "$rune_framed"
  fi
  rune_answered
}

# Says what became of the invocation of this key, and sees to it that what never started never will.
rune_ask() { # NONCE KEY PATIENCE_S EXPIRY_S [KILL]
  local tries up
  rune_nonce=$1 rune_key=$2 rune_patience=$3 rune_expiry=$4 rune_kill=${5-}
  trap '' XFSZ # a directory that takes no file is not the end
  rune_look
  if ! rune_find; then
    if rune_claim; then
      rune_state=barred
    elif ! rune_find; then
      rune_end 100 no_receipt
    fi
  fi
  for ((tries = 0; tries < 20; tries++)); do
    rune_read
    [[ $rune_state ]] && break
    sleep 0.1
  done
  case $rune_state in
    barred)
      read -r up _ </proc/uptime
      [[ $rune_kept != /dev/shm/* ]] || up='' # systemd may have emptied it since
      rune_kept=''
      if [[ $up ]]; then rune_end 100 unknown "$up"; else rune_end 100 no_receipt; fi
      ;;
    started | ended) ;;
    read)
      rune_kept=''
      rune_end "${rune_status:-137}" forgotten
      ;;
    *) # it was killed before it had written a line
      rune_kept=''
      rune_end 137 gone
      ;;
  esac
  printf '\n##rune-%s start %s\n' "$rune_nonce" "$rune_framed" >&2
  printf '\n##rune-%s start %s\n' "$rune_nonce" "$rune_framed"
  rune_follow && rune_forget
}
