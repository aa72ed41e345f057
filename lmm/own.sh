# What bootstrap.sh, receipt.sh and files.sh ask of a directory before they use it.

# Whether a directory is this account's own, and no link to one. In /var/tmp and its like others can
# exchange a link and a directory between two of these looks; where the kernel follows their links
# there, a program looks, which does so once.
rune_is_own() { # DIRECTORY
  local guarded=0
  [[ -d $1 && ! -L $1 && -O $1 ]] || return
  read -r guarded </proc/sys/fs/protected_symlinks
  [[ $guarded == 1 || $(stat -c '%u %f' -- "$1") == "$EUID 4"* ]] # 4: a directory
} 2>/dev/null
