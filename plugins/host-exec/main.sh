#!/usr/bin/env bash
# Runs a command with bash and tells what came of it. The command reaches bash through a pipe: as
# an argument it could be read by anyone with ps, and might be too long.
[[ ! ${LC_ALL+set} ]] || locale=$LC_ALL
LC_ALL=C # the functions work on bytes
shopt -s extglob
kept=1048576 # bytes of either stream
[[ $0 == */* ]] && here=${0%/*} || here=. # RUNE runs a plugin from a directory of its own

# shellcheck source=/dev/null
. "$here/json.sh"

fail() { # CODE MESSAGE [DETAILS]
  json_encode "$2"
  printf '{"error":{"code":%s,"message":%s,"details":{%s}}}\n' "$1" "$REPLY" "${3-}"
  exit "$1"
}

# Writes stdin to FILE as it comes, somewhat more than is kept, and drops the rest. A word to the
# descriptor ready says that FILE is complete. (head would hold back what it has read.)
collect() { # FILE
  local report size=0
  exec >/dev/null 2>&1
  while ((size <= kept)) && report=$(dd bs=65536 count=16 2>&1 >>"$1"); do
    [[ $report =~ ([0-9]+)\+([0-9]+)\ records\ in.*$'\n'([0-9]+)\ byte ]] || break
    ((size += BASH_REMATCH[3]))
    if ((BASH_REMATCH[1] + BASH_REMATCH[2] < 16)); then # the end
      printf 'all\n' >&"$ready"
      return
    fi
  done
  printf 'enough\n' >&"$ready"
  exec cat
}

# Sets REPLY to what is kept of FILE as a JSON string, and cut to whether there was more.
captured() { # FILE
  local text
  local -a pieces
  mapfile -d '' -t -n 2 pieces <"$1"
  text=${pieces[0]-}
  if ((${#pieces[@]} > 1)); then # NUL becomes U+FFFD, like all that is no text
    text=$(tr '\000' '\377' <"$1" && printf .)
    text=${text%.}
  fi
  cut=false
  ((${#text} <= kept)) || cut=true
  json_encode "${text:0:kept}"
}

message=$(</dev/stdin)
if [[ ${RUNE_PARAM_COMMAND+set} ]]; then
  command=$RUNE_PARAM_COMMAND
else # too long for a variable
  json_cut "$message" payload input_parameters command || fail 1 'there is no command'
  json_decode "$REPLY" || fail 1 'a command cannot hold a NUL character'
  command=$REPLY
fi
ok=,0,
if json_cut "$message" payload input_parameters ok_exit_codes; then
  REPLY=${REPLY//.0/} # to JSON Schema 7.0 is an integer, too
  ok=,${REPLY//[!0-9,]/},
fi
cwd=${RUNE_PARAM_CWD:-.}
[[ -d $cwd && -x $cwd ]] || fail 2 "there is no directory $cwd that this user may enter"

exec {ready}<> <(:)
exec {out}> >(collect "$here/stdout")
collectors=($!)
exec {err}> >(collect "$here/stderr")
collectors+=($!)
exec {out_left}<"/dev/fd/$out" {err_left}<"/dev/fd/$err"
{ # without a word from this shell when the command is killed
  (
    exec </dev/null 1>&"$out" 2>&"$err"
    unset "${!RUNE_PARAM_@}" LC_ALL
    [[ ! ${locale+set} ]] || export LC_ALL=$locale
    cd -- "$cwd" || exit 126
    exec {ready}>&- {out}>&- {err}>&- {out_left}<&- {err_left}<&-
    exec 3< <(printf 'exec 3<&-; %s\n' "$command")
    exec bash /dev/fd/3
  )
} 2>/dev/null
exit_code=$?
exec {out}>&- {err}>&-
# What the command left running may hold the pipes open: once they are empty, wait no longer.
said=''
until [[ $said == @(all|enough)@(all|enough) ]]; do
  if read -r -t 0.5 -u "$ready"; then
    said+=$REPLY
  elif ! read -r -t 0 -u "$out_left" && ! read -r -t 0 -u "$err_left"; then
    break
  fi
done
[[ $said != allall ]] || wait "${collectors[@]}" 2>/dev/null # else RUNE would have to end them

captured "$here/stdout"
answer="\"exit_code\":$exit_code,\"stdout\":$REPLY,\"stdout_truncated\":$cut"
captured "$here/stderr"
answer+=",\"stderr\":$REPLY,\"stderr_truncated\":$cut"
rm -f -- "$here/stdout" "$here/stderr"
[[ $ok == *,$exit_code,* ]] || fail 3 "the command exited with $exit_code" "$answer"
printf '{"payload":{"result":"success","output_data":{%s}}}\n' "$answer"
