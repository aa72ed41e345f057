#!/usr/bin/env bash
# Where files are kept is said in lmm/files.sh.
# shellcheck source=/dev/null
. "${0%/*}/rune.sh"
shopt -s nullglob
rune_context action
action=$REPLY files=0 bytes=0
bases=(${HOME:+"$HOME/.cache"} /var/tmp)
[[ ! ${XDG_CACHE_HOME-} ]] || bases=("$XDG_CACHE_HOME")
for base in "${bases[@]}"; do
  # in what others can write they could exchange a link and a directory
  [[ $(stat -L -c '%u %A' -- "$base" 2>/dev/null) == @(0|"$EUID")' d'@(????-??-?|????????[tT]) ]] || continue
  root=$base/rune-files-$EUID
  # one look: in /var/tmp others can exchange a link and a directory between two; 4 is a directory
  [[ $(stat -c '%u %f' -- "$root" 2>/dev/null) == "$EUID 4"* ]] || continue
  for file in "$root"/*; do
    size=$(stat -c %s -- "$file") || continue
    if [[ $action == target.cache.clear ]]; then
      rm -f -- "$file" || rune_fail 3 "cannot remove $file"
    fi
    ((files += 1, bytes += size))
  done
  [[ $action != target.cache.clear ]] || rmdir -- "$root" 2>/dev/null
done
rune_put_json files "$files"
rune_put_json bytes "$bytes"
rune_success
