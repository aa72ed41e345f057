# What a script under AWS Systems Manager does around the stream of bootstrap.py: functions only,
# run by rune_carry (see payload.py). The agent starts it under `sh` in a process group that it
# kills with KILL on cancel and timeout, keeps what it prints, and has no stdin for it. So the
# shell that runs the plugin gets a group of its own and a pipe for stdin whose only writer is this
# process: when the agent kills it, that pipe ends and the bootstrap's guard kills the plugin.

rune_say() { # WORDS...: the one line that says what is wrong instead of an answer
  printf '##rune-ssm %s %s\n' "$rune_nonce" "$*"
  exit 1
}

# Writes what is behind an address, by what the host has. The address opens the object to whoever
# knows it, so it is never an argument of a program.
rune_fetch() { # URL
  if type -P curl >/dev/null; then
    printf 'url = "%s"\n' "$1" | curl -fsS --retry 3 -K -
  elif type -P wget >/dev/null; then
    printf '%s\n' "$1" | wget -q -O - -i -
  else
    printf '%s' "$1" | python3 -c 'import shutil, sys, urllib.request
shutil.copyfileobj(urllib.request.urlopen(sys.stdin.read()), sys.stdout.buffer)'
  fi || printf f >&6
}

rune_slice() { # AT LEN
  tail -c "+$(($1 + 1))" | head -c "$2"
}

rune_size() { # FD VARIABLE: how much was written to it, by all that have inherited it
  local words
  read -ra words <"/proc/self/fdinfo/$1"
  printf -v "$2" %s "${words[1]}"
}

rune_output() { # OUT_LEN ERR_LEN
  head -c "$1" /proc/self/fd/3
  head -c "$2" /proc/self/fd/4
}

# NONCE REPLY_CHARS OUT_MAX ERR_MAX SHELL_COMMAND [INSTANCE AT HEAD_LEN TAIL_LEN]...
# Uses rune_shared, and rune_unique of which AT, HEAD_LEN and TAIL_LEN tell this instance's part.
rune_carry() {
  local id head sum body command byte dir shell readers status failed='' out=0 err=0 i
  rune_nonce=$1
  local reply_chars=$2 out_max=$3 err_max=$4 shell_command=$5
  shift 5
  [[ ${AWS_SSM_INSTANCE_ID:-$0} =~ m?i-[0-9a-f]{8,17} ]]
  id=${BASH_REMATCH[0]-}
  while (($#)) && [[ $1 != "$id" ]]; do shift 4; done
  (($#)) || rune_say wrong_instance "$id"
  for command in base64 cat gzip head mkfifo mktemp rm sha256sum tail tr; do
    type -P "$command" >/dev/null || rune_say missing "$command"
  done
  trap : PIPE # a handler, not an ignored signal, which the plugin would inherit
  dir=$(mktemp -d "${TMPDIR:-/tmp}/.rune-ssm-XXXXXXXX") || rune_say no_directory
  mkfifo "$dir/in" "$dir/bell" "$dir/1" "$dir/2" || rune_say no_directory
  exec 3<>"$dir/out" 4<>"$dir/err" 6<>"$dir/bell"
  head=$(rune_unique | rune_slice "$2" "$3")
  if [[ $head != *'; exit'* ]]; then
    rm -rf -- "$dir"
    rune_say not_fetched
  fi
  set -m
  cat "$dir/1" >&3 & # pipes, because a plugin that opens /dev/stderr would empty a file
  readers=$!
  cat "$dir/2" >&4 & # in groups of their own: without readers a plugin could not tidy up on TERM
  readers+=" $!"
  {
    eval "$shell_command" >"$dir/1" 2>"$dir/2" <"$dir/in" 3>&- 4>&- 6>&-
    status=$?
    printf x >&6
    exit "$status"
  } &
  shell=$!
  set +m
  exec 5>"$dir/in"
  rm -rf -- "$dir" # what is open stays, and ends with the last process that has it open
  {
    printf '%s\n' "$head"
    rune_shared
    rune_unique | rune_slice "$(($2 + $3))" "$4"
  } >&5 2>/dev/null
  while kill -0 "$shell" 2>/dev/null; do
    if IFS= read -r -N 1 -t 0.25 -u 6 byte; then
      [[ $byte == x ]] && break
      failed=1
    fi
    rune_size 3 out
    rune_size 4 err
    [[ $failed ]] || ((out > out_max || err > err_max)) && exec 5>&-
  done
  wait "$shell"
  status=$?
  # shellcheck disable=SC2086 # two process ids
  for ((i = 0; i < 100; i++)); do # what escaped may hold a pipe open for ever
    kill -0 $readers 2>/dev/null || break
    read -r -t 0.02 -u 6
  done
  # shellcheck disable=SC2086
  kill -KILL $readers 2>/dev/null
  [[ ! $failed ]] || rune_say not_fetched
  rune_size 3 out
  rune_size 4 err
  ((out <= out_max)) || out=$out_max
  ((err <= err_max)) || err=$err_max
  sum=$(rune_output "$out" "$err" | sha256sum)
  body=$(rune_output "$out" "$err" | gzip -c | base64 | tr -d '\n')
  head="##rune-ssm $rune_nonce ok $out $err ${sum%% *} ${#body}"
  ((${#head} + ${#body} + 2 < reply_chars)) || rune_say too_large "${#body}"
  printf '%s\n%s\n' "$head" "$body"
  case $status in # the agent's own: timed out, failed or done with a reboot, reboot and run again
    137 | 168 | 169 | 194) status=1 ;;
  esac
  exit "$status"
}
