# Sent after bootstrap.sh where a plugin has more files than its script: functions only, which read
# rune_files, four words for each file: PATH KIND LEN MODE. KIND is text or bytes, which come on stdin,
# or kept: then LEN is a SHA-256, and the host has the file, or says that it wants it.
#
# Kept files lie in a private directory of the account, named by their hash, which is checked before
# each use. Whoever stores one removes those that were not used for longest beyond 1 GiB.
# shellcheck disable=SC2034,SC2154 # what the files set and use is one program's

# Fills rune_stores with the directories that keep files; makes them if told to. A cache that others
# can exchange is passed over.
rune_find_stores() { # [MAKE]
  local base root above=${HOME-}
  local -a bases=(${HOME:+"$HOME/.cache"} /var/tmp)
  [[ ! ${XDG_CACHE_HOME-} ]] || above='' bases=("$XDG_CACHE_HOME")
  rune_stores=()
  for base in "${bases[@]}"; do
    root=$base/rune-files-$EUID
    if [[ ${1-} && ! -e $root ]]; then
      (umask 077 && mkdir -p -- "$base" && mkdir -- "$root")
    fi
    # RUNE itself makes ~/.cache, so the home counts as well
    rune_is_own "$root" && rune_is_safe ${above:+"$above"} "$base" && rune_stores+=("$root")
    above=''
  done
} 2>/dev/null

# Sets rune_file to the kept file with this hash; fails if there is none that can be used.
rune_find_file() { # SHA256 MODE
  local root sum
  for root in "${rune_stores[@]}"; do
    rune_file=$root/$1
    [[ -f $rune_file && ! -L $rune_file ]] || continue
    sum=$(sha256sum <"$rune_file")
    if [[ ${sum%% *} != "$1" ]]; then
      rm -f -- "$rune_file"
    elif [[ $2 != x || -x $rune_file ]]; then
      touch -c -- "$rune_file"
      return
    fi
  done
  return 1
} 2>/dev/null

# Whether the host has all files that it is to have kept.
rune_have_files() {
  local i
  rune_find_stores
  for ((i = 0; i < ${#rune_files[@]}; i += 4)); do
    [[ ${rune_files[i + 1]} != kept ]] || rune_find_file "${rune_files[i + 2]}" "${rune_files[i + 3]}" || return
  done
}

# Puts the files beside the script.
rune_put_files() {
  local i path text
  for ((i = 0; i < ${#rune_files[@]}; i += 4)); do
    path=$rune_dir/plugin/${rune_files[i]}
    [[ -d ${path%/*} ]] || mkdir -p -- "${path%/*}" || return
    case ${rune_files[i + 1]} in
      text)
        LC_ALL=C IFS= read -rN "${rune_files[i + 2]}" text || return
        printf '%s' "$text" >"$path" || return
        ;;
      bytes) head -c "${rune_files[i + 2]}" >"$path" || return ;;
      kept)
        rune_find_file "${rune_files[i + 2]}" "${rune_files[i + 3]}" || return
        ln -sf -- "$rune_file" "$path" || return
        continue
        ;;
    esac
    [[ ${rune_files[i + 3]} != x ]] || chmod 700 -- "$path" || return
  done
} 2>/dev/null

# Keeps a file that was sent; this is a plugin of its own, and so is its answer.
rune_keep() { # FILE SHA256
  local root new old sum
  sum=$(sha256sum <"$1")
  if [[ ${sum%% *} != "$2" ]]; then
    printf '{"error":{"code":2,"message":"a file of the plugin did not arrive as it was sent"}}\n'
    return 2
  fi
  rune_find_stores make
  for root in "${rune_stores[@]}"; do
    for old in "$root"/.[0-9a-f]*; do # of one that was killed
      kill -0 "${old##*.}" || rm -f -- "$old"
    done
    new=$root/.$2.$$
    if cp -- "$1" "$new" && chmod 500 -- "$new" && [[ -x $new ]] && mv -f -- "$new" "$root/$2"; then
      rune_bound "$root" "$2"
      printf '{"payload":{"result":"success","output_data":{}}}\n'
      return
    fi
    rm -f -- "$new"
  done 2>/dev/null
  printf '{"error":{"code":2,"message":"no directory on the host keeps the files of the plugin"}}\n'
  return 2
}

# Removes what was not used for longest, but for one file.
rune_bound() { # ROOT SPARED
  local size=0 bytes name
  while read -r _ bytes name; do
    [[ $bytes =~ ^[0-9]+$ ]] || continue
    ((size += bytes, size <= 1 << 30)) || [[ $name == "$2" ]] || rm -f -- "$1/$name"
  done < <(cd -- "$1" && stat -c '%Y %s %n' -- * | sort -rn)
} 2>/dev/null
