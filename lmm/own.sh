# What bootstrap.sh, receipt.sh and files.sh ask of a directory before they use it.

# Whether a directory is this account's own, and no link to one. In /var/tmp and its like others can
# exchange a link and a directory between two of these looks; where the kernel follows their links
# there, a program looks, which does so once. One that is held open is not exchanged unseen.
rune_is_own() { # DIRECTORY
  local guarded=0
  [[ ! ${rune_held-} || ! $1 -ef /proc/self/fd/$rune_held ]] || return 0
  [[ -d $1 && ! -L $1 && -O $1 ]] || return
  read -r guarded </proc/sys/fs/protected_symlinks
  [[ $guarded == 1 || $(stat -c '%u %f' -- "$1") == "$EUID 4"* ]] # 4: a directory
} 2>/dev/null

# Whether nobody but root and this account can exchange what lies in these directories: the owner of a
# sticky one can, too. For those that the system makes no program is started.
rune_is_safe() { # DIRECTORY...
  local seen owner mode
  [[ $# == 1 && -k $1 && $1 == /@(dev/shm|tmp|var/tmp) ]] && return
  [[ $# == 1 && -O $1 && $1 == "/run/user/$EUID" ]] && return
  seen=$(stat -L -c '%u %A' -- "$@") || return
  while read -r owner mode; do
    [[ $owner == 0 || $owner == "$EUID" ]] && [[ $mode == d????-??-? || $mode == d*[tT] ]] || return
  done <<<"$seen"
} 2>/dev/null
