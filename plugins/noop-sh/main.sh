#!/bin/sh
# Echoes input_parameters as output_data, byte for byte, in the shell that POSIX describes.
LC_ALL=C # bytes, not characters: faster, and right for all of them
message=$(cat)

# RUNE sends compact JSON. In it these two can only be keys, since a string would have a backslash
# before each of its quotes. Before the first there are only ids, so it is the one that is meant.
before='"payload":{"input_parameters":' after=',"context":'
case $message in
  '{"message_metadata":{'*"$before{"*"$after"*)
    head=${message%%"$before"*}
    value=${message#"$head$before"}
    value=${value%"$after"*}
    case $value in
      *'"context":'*) ;;
      *)
        printf '{"payload":{"result":"success","output_data":%s}}\n' "$value"
        exit
        ;;
    esac
    ;;
esac

# Another sender, or a key "context" elsewhere: read the message with care. Split at its quotes,
# strings and what lies between them take turns; a string goes on over each quote that has an odd
# number of backslashes before it.
fail() {
  printf '{"error":{"code":1,"message":"the input has no object payload.input_parameters"}}\n'
  exit 1
}
set -f
IFS='"'
depth=0 string='' name='' in_payload='' writing=''
for part in $message; do
  if [ "$string" ]; then
    [ ! "$writing" ] || printf '"%s' "$part"
    backslashes=${part##*[!\\]}
    if [ $((${#backslashes} % 2)) = 1 ]; then
      string=longer
    else
      [ $string = longer ] && name='' || name=$part
      string=''
    fi
    continue
  fi
  string=starts
  if [ ! "$writing" ]; then
    case $depth,$part in
      [12],*:*) # the string was a key at this depth
        if [ "$depth$name" = 1payload ]; then
          in_payload=yes
        elif [ $depth = 1 ]; then
          in_payload=''
        elif [ "$in_payload$name" = yesinput_parameters ]; then
          value=${part#*:}
          while :; do
            case $value in
              [[:space:]]*) value=${value#?} ;;
              '{'*) break ;;
              *) fail ;;
            esac
          done
          printf '{"payload":{"result":"success","output_data":'
          writing=yes part=$value quote=''
        fi
        ;;
    esac
  fi
  case $part in
    *[]{}[]*)
      IFS='{['
      # shellcheck disable=SC2086 # counted by splitting
      set -- $part.
      opened=$#
      IFS='}]'
      # shellcheck disable=SC2086
      set -- $part.
      depth=$((depth + opened - $#))
      ;;
  esac
  if [ "$writing" ]; then
    if [ $depth -le 2 ]; then # it closed, and 2 - depth objects around it
      while [ $depth -lt 2 ]; do
        part=${part%\}*}
        depth=$((depth + 1))
      done
      printf '%s%s}}}\n' "$quote" "${part%\}*}"
      exit
    fi
    printf '%s%s' "$quote" "$part"
    quote='"'
  fi
done
fail
