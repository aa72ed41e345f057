# Sent after bootstrap.sh where the host is to keep a receipt of the invocation: functions only.
# A receipt is up to four files in a private directory, all named by the invocation's key:
#
#   KEY.state   lines: "started MODE MARK PID START BOOT NONCE" before the plugin starts (or "barred"
#               by somebody who asked and found nothing), "ended STATUS REASON", "read". A line counts
#               only with its newline. Whoever makes this file has the key: nobody else may start.
#   KEY.out     the plugin's stdout, then the end line: without that line it is not whole
#   KEY.err     the same of stderr
#   KEY.stop    somebody who asked has killed the plugin
#
# Nothing of the plugin, its environment or its payload is in them. The key (rune_key) is a name; what
# makes an end line is the nonce, which stands in no argument of a program and no file name.
# shellcheck disable=SC2034,SC2154 # what the three files set and use is one program's

# Fills rune_roots with this account's directories of receipts and removes what has expired there.
# Below a root there is one directory for each six hours in which receipts expire, named by the
# number of its end, so that nothing has to be read, and mostly no process started, to expire them.
# The wall clock may jump: what was made since this boot expires by the time since then, of which the
# name has the six hours, too, and the boot.
rune_look() {
  local base root bucket left six='([0-9]{1,9})'
  printf -v rune_now '%(%s)T' -1
  rune_up=0 rune_boot_id=none
  read -r rune_up _ </proc/uptime
  read -r rune_boot_id </proc/sys/kernel/random/boot_id
  rune_up=${rune_up%.*}
  rune_bases=(/var/tmp "${HOME-}" /dev/shm) # the first two outlive logins and reboots
  rune_roots=()
  for base in "${rune_bases[@]}"; do
    root=$base/.rune-receipts-$EUID
    if [[ ! $base ]] || ! rune_is_own "$root" || ! rune_is_safe "$base"; then continue; fi
    rune_roots+=("$root")
    for bucket in "$root"/*; do
      [[ ${bucket##*/} =~ ^$six(-$six-([0-9a-z-]+))?$ ]] || continue
      left=$((10#${BASH_REMATCH[1]} * 21600 - rune_now))
      [[ ${BASH_REMATCH[4]} != "$rune_boot_id" ]] || left=$((10#${BASH_REMATCH[3]} * 21600 - rune_up))
      ((left >= 0)) || rm -rf -- "$bucket"
    done
  done
} 2>/dev/null

# Sets rune_kept to the receipt of this key, a path without the ending; fails if there is none, or
# none but OTHER.
rune_find() { # [OTHER]
  local root bucket
  for root in "${rune_roots[@]}"; do
    for bucket in "$root"/*; do
      rune_kept=$bucket/$rune_key
      [[ $rune_kept != "${1-}" && -e $rune_kept.state ]] && return
    done
  done
  rune_kept=''
  return 1
}

# Makes the receipt of this key, which succeeds only once, and writes its first line. Else sets
# rune_why: taken, or no_receipt where no directory takes it.
rune_claim() { # MODE MARK, or nothing to bar the key
  local base root bucket mine
  rune_why=taken
  rune_look
  ! rune_find || { rune_kept=''; return 1; }
  local -a bases=("${rune_bases[@]}")
  [[ ${1-} != continue ]] || bases=("${bases[@]:0:2}") # its connection may well end before it
  for base in "${bases[@]}"; do
    root=$base/.rune-receipts-$EUID
    bucket=$root/$(((rune_now + rune_expiry) / 21600 + 1))
    bucket+=-$(((rune_up + rune_expiry) / 21600 + 1))-$rune_boot_id
    if [[ ! $base || ! -w $base ]] || ! rune_is_safe "$base"; then continue; fi
    if [[ ! -d $bucket ]]; then
      mkdir -m 700 -- "$root" # or somebody else's, or a link to somewhere: looked at below
      rune_is_own "$root" && chmod 700 -- "$root" && mkdir -m 700 -- "$bucket"
    fi
    if [[ -L $bucket || ! -O $bucket ]] || ! rune_is_own "$root"; then continue; fi
    mine=$bucket/$rune_key
    set -C # of two that make the same file one fails
    if : >"$mine.state"; then
      set +C
      if (($#)); then
        set -- started "$1" "$2" "$rune_pid" "$rune_begun" "$rune_boot_id" "$rune_nonce"
        : >"$mine.out" && : >"$mine.err"
      else
        set -- barred
      fi
      if printf '%s\n' "$*" >>"$mine.state"; then
        rune_look
        rune_find "$mine" && return 1 # another directory has it, too: both lose
        rune_kept=$mine
        return 0
      fi
      rm -f -- "$mine".* # the disk is full
    fi
    set +C
    [[ ! -e $mine.state ]] || return 1
  done
  rune_why=no_receipt
  return 1
} 2>/dev/null

# Makes two pipes for the plugin's output, so that it can be kept as well as sent. Files would be
# cheaper, but whatever opens /dev/stderr to write to it would empty them.
rune_tap() {
  exec 7<<<'' 8<<<'' # from bash 5.1 on that is a pipe with one newline, and no process
  if [[ -p /proc/self/fd/7 && -p /proc/self/fd/8 ]]; then
    read -r -u 7
    read -r -u 8
  else
    exec 7<> <(:) 8<> <(:)
  fi
  exec 5>/proc/self/fd/7 6>/proc/self/fd/8
  exec 7</proc/self/fd/7 8</proc/self/fd/8
  rune_out=5 rune_err=6
}

# Sends and keeps what comes of it. Most plugins are soon through and have little to say, which
# takes no process; what is still open after a moment gets a tee.
rune_drink() {
  exec 5>&- 6>&-
  rune_sip 7 out 1 && rune_sip 8 err 2
  # Each pipe gets its writer before its reader, which would else end with the plugin.
  if [[ ! ${rune_dry_out-} ]]; then # what cannot be sent any more must still be kept
    exec 5>/proc/self/fd/7
    tee -a /proc/self/fd/9 9>>"$rune_kept.out" <&7 5>&- 7<&- 8<&- 2>/dev/null &
    exec 1>&5 5>&-
  fi
  if [[ ! ${rune_dry_err-} ]]; then
    exec 6>/proc/self/fd/8
    tee -a /proc/self/fd/9 9>>"$rune_kept.err" <&8 6>&- 7<&- 8<&- >&2 2>/dev/null &
    exec 2>&6 6>&-
  fi
  exec 7<&- 8<&-
}

# Reads until the end of a stream, but not for long and not much; fails if there may be more.
rune_sip() { # FD STREAM TO_FD
  local text='' format=%s got LC_ALL=C
  IFS= read -r -d '' -n 4096 -t 0.1 -u "$1" text
  got=$? # 0 for a NUL or enough, 1 for the end, more when time is up
  ((got || ${#text} == 4096)) || format='%s\0'
  # shellcheck disable=SC2059
  printf "$format" "$text" 2>/dev/null >>"$rune_kept.$2"
  # shellcheck disable=SC2059,SC2261 # TO_FD may be stderr, then the message goes elsewhere
  printf "$format" "$text" >&"$3" 2>/dev/null
  ((got == 1)) && printf -v "rune_dry_$2" 1
}

# Notes how it ended, and in the files that nothing else writes any more what the end lines will say.
rune_ended() { # STATUS REASON [DETAIL]
  { # what goes wrong here is no output of the plugin
    printf 'ended %s %s\n' "$1" "$2" >>"$rune_kept.state"
    if [[ ${rune_dry_out-} ]]; then printf '\n##rune-%s end %s %s \n' "$rune_nonce" "$1" "$2" >>"$rune_kept.out"; fi
    if [[ ${rune_dry_err-} ]]; then printf '\n##rune-%s end %s %s \n' "$rune_nonce" "$1" "$2" >>"$rune_kept.err"; fi
  } 2>/dev/null
  case $2:${3-} in # its own reader takes no more
    flood:stdout) exec >>"$rune_kept.out" ;;
    flood:stderr) exec 2>>"$rune_kept.err" ;;
  esac
}

# After the end lines: waits until RUNE has read them, or is gone, and tidies up.
rune_parted() {
  local read=''
  exec >/dev/null 2>&1
  if [[ $rune_mode == continue ]]; then
    rm -rf -- "$rune_dir"
    wait "$rune_follower" && read=1
  else
    rune_answered && read=1
  fi
  if [[ $read ]]; then rune_forget; else rm -rf -- "$rune_dir" && rune_trim; fi
}

# Waits for RUNE's word that it has read the end lines.
rune_answered() {
  local byte=''
  ((rune_patience)) || return # over this transport nobody can say anything
  while [[ $byte != r ]]; do
    IFS= read -r -N 1 -t "$rune_patience" byte || return
  done
}

# Removes the output, which was read. The state stays until it expires: that this ran is not forgotten.
rune_forget() {
  printf 'read\n' >>"$rune_kept.state"
  rm -rf -- "$rune_kept".{out,err,stop} ${rune_dir:+"$rune_dir"}
}

# Keeps the outputs of no more than 1000 receipts, those that expire last.
rune_trim() {
  local -a kept=("${rune_kept%/*/*}"/*/*.out)
  ((${#kept[@]} <= 1000)) && return
  kept=("${kept[@]:0:${#kept[@]}-1000}")
  rm -f -- "${kept[@]}" "${kept[@]/%.out/.err}"
}
