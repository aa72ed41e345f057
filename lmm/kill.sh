# Sent with bootstrap.sh: functions only, which find the processes of a plugin and kill them.
# shellcheck disable=SC2154 # what the files set and use is one program's

# Sets rune_stat to what follows a process's name in its stat. Whoever runs it chooses that name: it may
# hold brackets and newlines, and nothing of it may be taken for a number, which bash would evaluate.
rune_look_at() { # PID
  rune_stat=''
  IFS= read -r -d '' rune_stat <"/proc/$1/stat"
  rune_stat=${rune_stat##*) }
  [[ $rune_stat =~ ^[A-Za-z]\ [0-9]+\ [0-9]+\  ]]
} 2>/dev/null

# Sets what rune_there looks for to this shell.
rune_remember() {
  local -a stat
  rune_pid=$$
  rune_look_at $$
  # shellcheck disable=SC2206
  stat=($rune_stat) rune_begun=${stat[19]}
}

# Whether the main shell is there; whoever reads a receipt looks for that of the invocation, perhaps
# after a reboot. Its id may long be that of somebody else's process. Sets rune_stat to its own.
rune_there() {
  local boot=none
  if [[ ${rune_boot-} ]]; then
    IFS= read -r boot </proc/sys/kernel/random/boot_id
    [[ $boot == "$rune_boot" ]] || return
  fi
  rune_look_at "$rune_pid" || return
  # shellcheck disable=SC2086
  set -- $rune_stat
  [[ $1 != [ZX] && ${20} == "$rune_begun" ]]
} 2>/dev/null

# Whether TERM is in a mask of the status in text.
rune_masks() { # MASK
  local term='????????????[4-7c-f]???'
  # shellcheck disable=SC2053 # a pattern
  [[ $text == *$'\n'"$1":?$term$'\n'* ]]
}

# Whether TERM does anything to a process, by what the kernel says of its threads: it may be ignored,
# as interactive shells do, or blocked, which sets rune_blocks, to caught if it has a handler. The first
# process of a PID namespace gets it from out here only if it catches it.
rune_heeds() { # PID
  local file text first='NStgid:*([!\n])\t1'
  printf -v first %b "$first"
  rune_blocks=''
  for file in "/proc/$1/task"/*/status; do
    text=''
    IFS= read -r -d '' text <"$file"
    # shellcheck disable=SC2053 # patterns
    if [[ $text == *$'\n'State:?Z* ]]; then
      continue
    elif rune_masks SigIgn; then
      return 1
    elif rune_masks SigBlk; then
      rune_blocks=1
      ! rune_masks SigCgt || rune_blocks=caught
    elif [[ $text == *$'\n'$first$'\n'* ]] && ! rune_masks SigCgt; then
      return 1
    else
      return 0
    fi
  done
  return 1
} 2>/dev/null

# Whether a thread of a process is not stopped; its first one may have ended.
rune_moves() { # PID
  local task
  for task in "/proc/$1/task"/*; do
    rune_look_at "${task#/proc/}"
    [[ $rune_stat == [TtZX]* ]] || return 0
  done
  return 1
}

# Waits without starting a process: there may be no room for one.
rune_nap() { # SECONDS
  if [[ ! ${rune_quiet-} ]]; then # a pipe to which nobody writes
    exec {rune_quiet}<<<'' # from bash 5.1 on that is a pipe with one newline, and no process
    if [[ -p /proc/self/fd/$rune_quiet ]]; then
      read -r -u "$rune_quiet"
      exec {rune_quiet}<>"/proc/self/fd/$rune_quiet"
    else
      exec {rune_quiet}<> <(:)
    fi
  fi
  read -r -t "$1" -u "$rune_quiet"
} 2>/dev/null

# Fills rune_found with the invocation's processes, parents before their children (rune_ends: how many
# there are up to each generation): all that carry its mark in their environment, children of the main
# shell outside its own process group, whatever descends from those or shares a process group with them,
# and what an earlier look of the same rune_kill has found and may kill: its parent may be dead. Sets
# rune_first to the plugin's first process while it lives, for each process rune_parent[PID] and
# rune_start[PID], and rune_moving[PID] to its state if it is not stopped. Looking AGAIN it passes over
# those that were certainly none of it. NEAR it looks at no environment, as others can make that costly.
rune_scan() { # [again|near]
  local proc pid state own='' grown=1 main=''
  local -a stat env tasks generation blank=()
  local -A group=() hit=() hit_group=()
  rune_found=() rune_ends=() rune_moving=() rune_first='' rune_parent=() rune_start=()
  [[ ${1-} == again ]] || rune_others=()
  # shellcheck disable=SC2206
  rune_there && stat=($rune_stat) main=$rune_pid own=${stat[2]}
  for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    [[ ${rune_others[pid]-} ]] && continue
    rune_look_at "$pid" || continue
    # shellcheck disable=SC2206 # state, parent, group; threads, start, ends of the environment
    stat=($rune_stat) state=$rune_stat
    [[ $pid == "$$" || $pid == "$BASHPID" ]] && continue
    if [[ $state == [ZX]* ]]; then # the first thread of it has ended
      ((stat[17] > 1)) || continue
      tasks=("$proc"/task/*) proc=${tasks[-1]} # the others still have its environment
      rune_moves "$pid" && rune_moving[pid]=R
    elif [[ $state != [Tt]* ]]; then
      rune_moving[pid]=${state:0:1}
    fi
    rune_parent[pid]=${stat[1]} group[$pid]=${stat[2]} rune_start[pid]=${stat[19]}
    [[ ${rune_known[pid]-} == "${stat[19]}" ]] && hit[$pid]=1
    if [[ ${rune_parent[pid]} == "$main" && ${group[$pid]} != "$own" ]]; then
      hit[$pid]=1 rune_first=$pid
    elif [[ ${1-} == near ]] || ((stat[6] & 0x200000 || stat[48] - stat[47] > 8 << 20)); then
      continue # the kernel's own, and what no program was started with: it costs much to read
    elif mapfile -d '' -n 8192 -t env <"$proc/environ"; then
      if [[ " ${env[*]} " == *" RUNE_INVOCATION=${rune_mark:16} "* ]]; then
        hit[$pid]=1
        [[ ${rune_parent[pid]} != "$main" ]] || rune_first=$pid # it has joined the main shell's group
      fi
      ((${#env[@]})) || blank[pid]=1 # may just be starting a program
    fi
  done
  while ((grown)); do
    grown=0
    for pid in "${!hit[@]}"; do
      [[ ${group[$pid]} == "$own" ]] || hit_group[${group[$pid]}]=1
    done
    for pid in "${!rune_parent[@]}"; do
      [[ ${hit[$pid]-} ]] && continue
      [[ ${hit[${rune_parent[pid]}]-} || ${hit_group[${group[$pid]}]-} ]] && hit[$pid]=1 grown=1
    done
  done
  for pid in "${!hit[@]}"; do # another user's cannot be killed, so nothing waits for them
    ! kill -0 "$pid" || rune_known[pid]=${rune_start[pid]}
  done
  for pid in "${!rune_parent[@]}"; do
    [[ ${1-} == near || ${hit[$pid]-} || ${blank[pid]-} ]] || rune_others[pid]=1
  done
  while ((grown != ${#hit[@]})); do # each look lists some, unless a reused id makes a circle
    grown=${#hit[@]} generation=()
    for pid in "${!hit[@]}"; do
      [[ ${hit[${rune_parent[pid]}]-} ]] || generation+=("$pid")
    done
    for pid in "${generation[@]}"; do unset "hit[$pid]"; done
    rune_found+=("${generation[@]}") rune_ends+=(${#rune_found[@]})
  done
  rune_found+=("${!hit[@]}")
} 2>/dev/null

# Sets rune_tick to hundredths of a second since the boot. SECONDS would follow the wall clock.
rune_clock() {
  local up
  read -r up _ </proc/uptime
  rune_tick=$((10#${up/./}))
}

# Has stopped what moves of what was found, each generation before its children, or has waited half a
# second for it: what is in the middle of a look at its child would see that stopped, and a shell go on.
rune_hold() {
  local end pid from=0 tries
  local -a generation
  for end in "${rune_ends[@]}" ${#rune_found[@]}; do
    generation=() tries=0
    for pid in "${rune_found[@]:from:end - from}"; do
      [[ ! ${rune_moving[pid]-} ]] || generation+=("$pid")
    done
    kill -STOP "${generation[@]}"
    for pid in "${generation[@]}"; do
      while rune_look_at "$pid" && [[ $rune_stat != [TtZX]* ]] && kill -0 "$pid" && ((++tries < 50)); do
        rune_nap 0.01
      done
    done
    from=$end
  done
} 2>/dev/null

# Stops the tree, for at most a second, or six looks where they take longer: parents first, as a shell
# with job control goes on when its child stops. A fork may be under way in what is about to stop, so it
# has stopped when nothing is found that was not seen stopped by the look before. Others' processes
# (sudo) are not waited for.
rune_freeze() {
  local pid calm='' again='' end looks=0
  local -a still=()
  rune_scan near
  rune_see_busy
  rune_hold
  rune_clock
  ((end = rune_tick + 100))
  while [[ ! $calm ]] && ((++looks <= 6 || rune_tick < end)); do
    rune_scan $again
    calm=1 again=again
    for pid in "${rune_found[@]}"; do
      if [[ ! ${rune_moving[pid]-} ]]; then
        [[ ${still[pid]-} ]] || { still[pid]=1 calm=''; }
      elif kill -0 "$pid" || [[ ! -e /proc/$pid ]]; then
        still[pid]='' calm=''
      fi
    done
    [[ $calm ]] || rune_hold
    rune_clock
  done
} 2>/dev/null

# Whether a process has not yet taken the TERM that it was sent.
rune_waits() { # PID
  local text=''
  IFS= read -r -d '' text <"/proc/$1/status"
  rune_masks ShdPnd && [[ $text != *$'\n'State:?Z* ]]
} 2>/dev/null

# Notes who is about to start something, or has just done so: what runs, and has a young child, one
# of rune_since or later; and which are those.
rune_see_busy() {
  local pid
  rune_clock
  for pid in "${rune_found[@]}"; do
    [[ ${rune_moving[pid]-} != [RD] ]] || rune_busy[pid]=1
    # a container may have an uptime of its own: then all seem to start later
    ((rune_start[pid] < rune_since || rune_start[pid] > rune_tick + 20)) ||
      rune_busy[rune_parent[pid]]=1 rune_young[pid]=1
  done
}

# Lets what blocks TERM go on to take it, for at most half a second: bash and Python block it while they
# start a command, others to read it. What only has children from before stays stopped: it may wait for
# one, and would run its next command. So it would if the command that it has just started stopped, or
# ended by its own TERM: that goes on with it.
rune_warn() {
  local pid i waiting=1 end
  local -a parents=() going=()
  rune_see_busy
  ((end = rune_tick + 50))
  for pid in "${rune_found[@]}"; do parents[rune_parent[pid]]=1; done
  for pid in "${rune_found[@]}"; do
    if [[ ${rune_young[pid]-} && ${going[rune_parent[pid]]-} ]]; then
      going[pid]=1
    elif [[ ${rune_busy[pid]-} || ! ${parents[pid]-} ]] && ! rune_heeds "$pid" && [[ $rune_blocks ]]; then
      going[pid]=1 rune_asked[pid]=$rune_blocks
    fi
  done
  ((${#rune_asked[@]})) || return
  kill -TERM "${!rune_asked[@]}"
  for ((i = ${#rune_found[@]} - 1; i >= 0; i--)); do
    [[ ! ${going[rune_found[i]]-} ]] || kill -CONT "${rune_found[i]}"
  done
  while [[ $waiting ]] && ((rune_tick < end)); do
    waiting=''
    for pid in "${!rune_asked[@]}"; do rune_waits "$pid" && waiting=1; done
    rune_nap 0.02
    rune_clock
  done
  rune_freeze
} 2>/dev/null

# Gives what is stopped its TERM, if it has not got it, and KILL where that does nothing: such a shell
# would go on when its child dies. An interactive one ignores TERM except while it starts a command, so
# what has taken its TERM without a handler may ignore it now. Children first: when the last parent
# outside of a process group ends, the kernel has all that is stopped in the group go on.
rune_strike() { # [KILL]
  local pid i
  local -a asking=() heeding=() others=()
  for ((i = ${#rune_found[@]} - 1; i >= 0; i--)); do
    pid=${rune_found[i]}
    if [[ ! ${1-} && ${rune_asked[pid]-} ]] && ! rune_waits "$pid"; then
      if [[ ${rune_asked[pid]} == caught ]] || rune_heeds "$pid" || [[ $rune_blocks ]]; then
        heeding+=("$pid")
      else
        others+=("$pid")
      fi
    elif [[ ! ${1-} ]] && rune_heeds "$pid"; then
      heeding+=("$pid") asking+=("$pid")
    else
      others+=("$pid")
    fi
  done
  kill -TERM "${asking[@]}"
  kill -KILL "${others[@]}"
  kill -CONT "${heeding[@]}"
} 2>/dev/null

# Kills the tree: TERM, after two seconds KILL, until nothing is left of it. Each time all of it is
# stopped before: a shell whose child dies first would run its next command. What goes on then acts
# on its TERM before anything else. A plugin that has not begun, or has ended by itself, is let
# alone; NOTE is made before one that lives gets its TERM.
rune_kill() { # NOTE
  local asked rune_since
  local -a rune_known=() rune_asked=() rune_busy=() rune_young=()
  rune_clock
  rune_since=$((rune_tick - 20))
  rune_freeze
  if [[ ! -e $1 ]] && rune_there; then
    if [[ ! $rune_first ]] || ! kill -0 "${rune_found[@]}"; then
      kill -CONT "${rune_found[@]}"
      return
    fi
    rune_note "$1"
  fi
  rune_warn
  rune_strike
  rune_clock
  asked=$rune_tick
  while rune_scan again; ((${#rune_found[@]})) || { rune_scan; ((${#rune_found[@]})); }; do
    rune_clock
    if ((rune_tick - asked > 200)); then
      rune_freeze
      rune_strike KILL
    fi
    rune_nap 0.1
  done
} 2>/dev/null

# Kills what a plugin has left behind in its process group, in the same way. The kernel stops a group
# at once, forks that are under way included.
rune_kill_group() { # GROUP
  local proc
  local -a stat rune_found=() rune_asked=()
  kill -STOP -- "-$1"
  for proc in /proc/[0-9]*; do
    rune_look_at "${proc#/proc/}" || continue
    # shellcheck disable=SC2206
    stat=($rune_stat)
    [[ ${stat[2]} != "$1" ]] || rune_found+=("${proc#/proc/}")
  done
  rune_strike
  rune_nap 0.2
  kill -KILL -- "-$1"
} 2>/dev/null
