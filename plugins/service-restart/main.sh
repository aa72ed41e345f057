#!/usr/bin/env bash
# Restarts a systemd service and waits until it is active and has stayed so for a second.

# shellcheck source=/dev/null
. "${0%/*}/rune.sh"

# Sets REPLY to hundredths of a second of a clock that is never set back.
now() {
  read -r REPLY _ </proc/uptime
  REPLY=$((10#${REPLY/./}))
}

# Fills is with what systemd knows of the unit; with nothing while systemd does not answer.
declare -A is
look() {
  local line
  is=()
  while IFS= read -r line; do [[ $line != ?*=* ]] || is[${line%%=*}]=${line#*=}; done < <(
    TZ=UTC0 exec systemctl show -p Id,LoadState,LoadError,ActiveState,SubState,Type,Result,MainPID \
      -p ExecMainStatus,ConditionResult,ConditionTimestamp,ActiveEnterTimestamp \
      -- "$unit" </dev/null
  )
  active=${is[ActiveState]-unknown} pid=${is[MainPID]:-0}
}

# Ends the plugin with the state of the unit and what its journal says since the restart.
fail_with_state() { # MESSAGE
  local name details='' line
  for name in unit=Id active_state=ActiveState sub_state=SubState result=Result; do
    json_encode "${is[${name#*=}]-}"
    details+="\"${name%=*}\":$REPLY,"
  done
  json_encode "$complaint"
  details+="\"exit_status\":${is[ExecMainStatus]:-null},\"systemctl\":$REPLY,\"journal\":["
  timeout 5 journalctl --sync </dev/null &>/dev/null
  while IFS= read -r line || [[ $line ]]; do
    json_encode "$line"
    details+=$REPLY,
  done < <(
    exec 2>/dev/null </dev/null
    timeout 5 journalctl --quiet --no-pager --all --output=short-iso --unit="$unit" \
      --since="@$began" | tail -c 8192 | tail -n 20 | tr '\000' '?'
  )
  rune_fail 3 "$1" "{${details%,}]}"
}

succeed() {
  local since=null
  json_encode "${is[Id]-$unit}"
  printf '{"payload":{"result":"success","output_data":{"unit":%s' "$REPLY"
  json_encode "${is[SubState]-}"
  printf ',"active_state":"%s","sub_state":%s' "$active" "$REPLY"
  if [[ $active == active && ${is[ActiveEnterTimestamp]-} == *' '*' '*' UTC' ]]; then
    read -r _ day clock _ <<<"${is[ActiveEnterTimestamp]}"
    since="\"${day}T${clock}Z\""
  fi
  ((pid)) || pid=null
  printf ',"main_pid":%s,"active_since":%s' "$pid" "$since"
  printf ',"duration_s":%d.%02d}}}\n' $(((up - start) / 100)) $(((up - start) % 100))
  exit
}

unit=${RUNE_PARAM_SERVICE-} wait_s=${RUNE_PARAM_WAIT_S:-10}
wait_s=${wait_s%.0} # JSON may write it so
[[ $unit =~ ^[A-Za-z0-9_:\\][A-Za-z0-9_:.\\@-]*$ ]] ||
  rune_fail 1 "service is no service's name: $unit"
[[ $unit == *.service ]] || unit+=.service
[[ $unit != *@.service ]] ||
  rune_fail 1 "$unit is a template: name an instance, such as ${unit/@/@1}"
if [[ ! $wait_s =~ ^[0-9]{1,3}$ ]] || ((10#$wait_s < 1 || 10#$wait_s > 300)); then
  rune_fail 1 "wait_s must be a whole number from 1 to 300: $wait_s"
fi

type -P systemctl >/dev/null || rune_fail 2 'systemctl is not on the PATH: this host has no systemd'
state=$(systemctl is-system-running </dev/null 2>/dev/null)
[[ $state && $state != offline && $state != unknown ]] ||
  rune_fail 2 "systemd does not run on this host: systemctl is-system-running says ${state:-nothing}"

look
case ${is[LoadState]-} in
  not-found) rune_fail 4 "there is no service $unit on this host" ;;
  masked) rune_fail 4 "$unit is masked: systemctl unmask $unit makes it startable" ;;
  bad-setting | error)
    problem=${is[LoadError]-}
    problem=${problem#*\"}
    rune_fail 4 "systemd cannot load $unit: ${problem%\"}"
    ;;
  '') rune_fail 3 "systemctl show tells nothing about $unit" ;;
esac

printf -v began '%(%s)T' -1
now && start=$REPLY deadline=$((REPLY + 10#$wait_s * 100))
complaint=$(timeout "$wait_s" systemctl --no-ask-password restart -- "$unit" </dev/null 2>&1)
status=$?
look
if ((status == 124)); then
  fail_with_state "$unit is $active after $wait_s s; systemd goes on with the restart"
elif ((status)); then
  case ${complaint,,} in
    *'authentication required'* | *'access denied'* | *'not permitted'* | *'permission denied'*)
      fail_with_state "$(id -un) may not restart $unit: that takes root (become) or a polkit rule"
      ;;
  esac
  fail_with_state "$unit could not be restarted: ${complaint%%$'\n'*}"
fi

up=0 first_pid=
while now; do
  case $active in
    active)
      [[ $up != 0 && $first_pid == "$pid" ]] || up=$REPLY first_pid=$pid
      ((REPLY - up < 100)) || succeed
      ((REPLY < deadline + 100)) ||
        fail_with_state "$unit does not stay up: its process ends again and again"
      ;;
    inactive)
      up=$REPLY
      # A condition that does not hold shows no. So does a unit that systemd has forgotten since,
      # as it does with most that ran to their end; but that one has no times.
      [[ ${is[Type]-} != oneshot || ${is[Result]-} != success ]] ||
        [[ ${is[ConditionResult]-} == no && ${is[ConditionTimestamp]-} ]] || succeed
      fail_with_state "$unit is inactive again: it ended, or a condition kept it from starting"
      ;;
    failed) fail_with_state "$unit has failed: ${is[Result]-}" ;;
    *)
      up=0
      ((REPLY < deadline)) || fail_with_state "$unit is $active after $wait_s s"
      ;;
  esac
  sleep 0.25
  look
done
